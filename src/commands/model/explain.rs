//! `ai-link model explain`: the plan layer by layer, what it costs, and what it took.

mod layers;
mod rehearse;
mod report;
mod subject;

use std::num::NonZero;
use std::thread;

use ai_link_mpc::rates;
use ai_link_program::{LinkProfile, Placement, PlanOptions, Rates, Setting, compile};

use crate::cli::{Explain, RateSource};
use crate::output::{Failure, Output};
use report::{Explanation, LinkReport, Totals};
use subject::Subject;

pub(super) fn run(args: &Explain, output: &Output) -> Result<(), Failure> {
    let options = args.options();
    let subject = Subject::load(args, options)?;
    let rates = match args.rates {
        RateSource::Measured => rates::measure(),
        RateSource::Default => Rates::DEFAULT,
    };
    let batch = args.plan.batch as usize;
    let setting = setting(args, rates);
    let program = &subject.program;
    let prediction = program.predict(batch, &setting);
    let measured = match args.run {
        None => None,
        Some(runs) => {
            output.note("evaluating, all parties in this process");
            Some(rehearse::rehearse(&subject, batch, setting.link, runs)?)
        }
    };
    let explanation = Explanation {
        name: subject.name.clone(),
        level: "mpc",
        weights: subject.weights(),
        batch,
        ring_bits: 64,
        fraction_bits: subject.fraction_bits(),
        link: LinkReport::new(&setting),
        runs: args.run,
        layers: layers::layers(
            program,
            &prediction,
            measured.as_ref(),
            &setting,
            options.fss,
        ),
        totals: Totals::new(&prediction, measured.as_ref()),
        elsewhere: elsewhere(&subject, options, rates)?,
    };
    output.result(&explanation, Explanation::text)
}

/// Where the session is predicted to run: where it is run, if it is.
fn setting(args: &Explain, rates: Rates) -> Setting {
    let link = args.plan.link();
    if args.run.is_none() {
        return Setting {
            link,
            rates,
            placement: Placement::Apart,
        };
    }
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let cores = u16::try_from(cores).unwrap_or(u16::MAX);
    Setting {
        link: LinkProfile { cores, ..link },
        rates,
        placement: Placement::Together,
    }
}

/// What would be planned for other links; for a package, what its plan takes there.
fn elsewhere(
    subject: &Subject,
    options: PlanOptions,
    rates: Rates,
) -> Result<Vec<report::Elsewhere>, Failure> {
    let links = [
        ("loopback", LinkProfile::LOOPBACK),
        ("data centre", LinkProfile::DATA_CENTRE),
        ("wide area", LinkProfile::WIDE_AREA),
    ];
    let asked = options.link;
    let same = |link: &LinkProfile| {
        (link.round_trip, link.bandwidth_bits) == (asked.round_trip, asked.bandwidth_bits)
    };
    let mut all = Vec::new();
    for (name, link) in links.into_iter().filter(|(_, link)| !same(link)) {
        let link = LinkProfile {
            cores: asked.cores,
            ..link
        };
        let setting = Setting {
            link,
            rates,
            placement: Placement::Apart,
        };
        let predict =
            |program: &ai_link_program::Program| program.predict(options.batch as usize, &setting);
        let (program, prediction) = match &subject.source {
            None => (subject.program.clone(), predict(&subject.program)),
            Some(source) => {
                let options = PlanOptions { link, ..options };
                let compiled = compile(&source.graph, &source.calibration, options);
                let program = compiled.map_err(Failure::failed)?.program;
                let prediction = predict(&program);
                (program.into(), prediction)
            }
        };
        all.push(report::Elsewhere {
            name,
            link: LinkReport::new(&setting),
            tactics: layers::tactics(&program),
            totals: Totals::new(&prediction, None),
        });
    }
    Ok(all)
}
