//! `ai-link model transfer|license|grant|royalties|price|standing|history`: what an owner lays down about a model.

use std::time::Duration;

use ai_link_registry::rights::{Access, MILLION};
use ai_link_registry::{
    Finalised, Grant, ModelInfo, Offer, Registry, RegistryClient, Royalty, Standing, Terms,
};
use ai_link_wire::{Identity, ModelName, ModelVersion, Planck, Purpose, UnixMillis};
use serde_json::{Value, json};

use crate::cli::{
    AccessArg, Global, LicenseArgs, ModelGrantArgs, PriceArgs, PurposeArg, RoyaltyArgs, Signer,
    StandingArg, StandingArgs, TransferArgs,
};
use crate::commands::context::Context;
use crate::output::{Failure, Output};

/// The model at hand, and who signs.
struct Deed {
    context: Context,
    client: RegistryClient,
    name: ModelName,
}

impl Deed {
    async fn begin(global: &Global, name: &str, signer: &Signer) -> Result<Self, Failure> {
        let name: ModelName = name.parse().map_err(Failure::failed)?;
        let context = Context::load(global)?;
        let identity = Identity::load(context.dir.key(&signer.key)).map_err(Failure::failed)?;
        let registry = context.registry().await?;
        found(&registry, &name).await?;
        let client = RegistryClient::new(registry, identity);
        Ok(Self {
            context,
            client,
            name,
        })
    }

    /// Prints what was done, and where it is on the chain.
    fn done(
        &self,
        output: &Output,
        finalised: Finalised,
        what: Value,
        text: &str,
    ) -> Result<(), Failure> {
        let mut report = json!({
            "model": self.name.to_string(),
            "block": finalised.block.to_string(),
            "transaction": finalised.transaction.to_string(),
        });
        if let (Value::Object(report), Value::Object(what)) = (&mut report, what) {
            report.extend(what);
        }
        output.result(&report, |_| text.to_owned())
    }
}

async fn found(registry: &Registry, name: &ModelName) -> Result<ModelInfo, Failure> {
    let model = registry.model(name).await.map_err(Failure::failed)?;
    model.ok_or_else(|| Failure::message(format!("there is no model {name} on the chain")))
}

pub(super) async fn transfer(
    global: &Global,
    args: TransferArgs,
    output: &Output,
) -> Result<(), Failure> {
    let deed = Deed::begin(global, &args.name, &args.signer).await?;
    let (client, name) = (&deed.client, &deed.name);
    let price = amount(&args.price)?;
    if args.withdraw {
        let finalised = client.withdraw_offer(name).await.map_err(Failure::failed)?;
        return deed.done(output, finalised, json!({}), "the offer is withdrawn");
    }
    if args.accept {
        let accepted = client.accept_model(name, price).await;
        let finalised = accepted.map_err(|error| {
            let other = error.is("Rights", "OtherPrice");
            let failure = Failure::failed(error);
            match other {
                true => failure.with_hint(
                    "give --price as the offer has it; `ai-link model history` shows it",
                ),
                false => failure,
            }
        })?;
        let owner = client.account();
        let what = json!({ "owner": owner.to_string(), "price": price.to_string() });
        let text = format!("{name} belongs to {owner}, who paid {price}");
        return deed.done(output, finalised, what, &text);
    }
    let to = args.to.as_deref().unwrap_or_default();
    let to = deed.context.account(to)?;
    let until = from_now(args.hours);
    let offer = Offer { to, price, until };
    let offered = client.offer_model(name, offer).await;
    let finalised = offered.map_err(Failure::failed)?;
    let what = json!({
        "to": to.to_string(), "price": price.to_string(), "until_ms": until.0,
    });
    let text = format!(
        "{name} is offered to {to} for {price}, for {} hours: it accepts with `ai-link model transfer {name} \
         --accept --price {} --as KEY`",
        args.hours, args.price
    );
    deed.done(output, finalised, what, &text)
}

pub(super) async fn license(
    global: &Global,
    args: LicenseArgs,
    output: &Output,
) -> Result<(), Failure> {
    let deed = Deed::begin(global, &args.name, &args.signer).await?;
    let rights = deed.client.rights(&deed.name).await;
    let before = rights.map_err(Failure::failed)?.terms;
    let mut terms = before.clone();
    if let Some(access) = args.access {
        terms.access = match access {
            AccessArg::Anyone => Access::Anyone,
            AccessArg::Granted => Access::Granted,
        };
    }
    if let Some(purpose) = args.purpose {
        terms.purpose = purpose.into();
    }
    if args.anywhere || !args.region.is_empty() {
        terms.regions = args.region;
    }
    if args.endless {
        terms.until = None;
    }
    if let Some(hours) = args.ends_in {
        terms.until = Some(from_now(hours));
    }
    if let Some(text) = args.text {
        terms.licence = text;
    }
    if terms == before {
        let report = json!({ "model": deed.name.to_string(), "terms": terms_json(&terms) });
        return output.result(&report, |_| terms_text(&terms));
    }
    let set = deed.client.set_terms(&deed.name, &terms).await;
    let finalised = set.map_err(Failure::failed)?;
    let what = json!({ "terms": terms_json(&terms) });
    let text = format!("for tickets from now on: {}", terms_text(&terms));
    deed.done(output, finalised, what, &text)
}

pub(super) async fn grant(
    global: &Global,
    args: ModelGrantArgs,
    output: &Output,
) -> Result<(), Failure> {
    let deed = Deed::begin(global, &args.name, &args.signer).await?;
    let (client, name) = (&deed.client, &deed.name);
    let Some(account) = &args.account else {
        return grants(client, name, output).await;
    };
    let account = deed.context.account(account)?;
    if args.revoke {
        let revoked = client.revoke_grant(name, account).await;
        let finalised = revoked.map_err(Failure::failed)?;
        let what = json!({ "revoked": account.to_string() });
        let text = format!("{account} has no grant for {name} any more");
        return deed.done(output, finalised, what, &text);
    }
    let grant = Grant {
        purpose: args.purpose.into(),
        until: args.hours.map(from_now),
    };
    let granted = client.grant_model(name, account, grant).await;
    let finalised = granted.map_err(Failure::failed)?;
    let what = json!({ "granted": account.to_string(), "grant": grant_json(&grant) });
    let text = format!("{account} may use {name}: {}", grant_text(&grant));
    deed.done(output, finalised, what, &text)
}

async fn grants(registry: &Registry, name: &ModelName, output: &Output) -> Result<(), Failure> {
    let grants = registry.grants(name).await.map_err(Failure::failed)?;
    let rows = grants.iter().map(
        |(account, grant)| json!({ "account": account.to_string(), "grant": grant_json(grant) }),
    );
    let report = json!({ "model": name.to_string(), "grants": rows.collect::<Vec<_>>() });
    output.result(&report, |_| match grants.as_slice() {
        [] => format!("nobody has a grant for {name}"),
        grants => {
            let lines = grants
                .iter()
                .map(|(account, grant)| format!("{account}  {}", grant_text(grant)));
            lines.collect::<Vec<_>>().join("\n")
        }
    })
}

pub(super) async fn royalties(
    global: &Global,
    args: RoyaltyArgs,
    output: &Output,
) -> Result<(), Failure> {
    let deed = Deed::begin(global, &args.name, &args.signer).await?;
    let shares = args.share.iter().map(|text| share(&deed.context, text));
    let shares = shares.collect::<Result<Vec<_>, _>>()?;
    let set = deed.client.set_royalties(&deed.name, &shares).await;
    let finalised = set.map_err(Failure::failed)?;
    let rows = shares.iter().map(royalty_json);
    let what = json!({ "royalties": rows.collect::<Vec<_>>() });
    let text = match shares.as_slice() {
        [] => format!("all of the price of {} is its owner's", deed.name),
        shares => shares
            .iter()
            .map(royalty_text)
            .collect::<Vec<_>>()
            .join("\n"),
    };
    deed.done(output, finalised, what, &text)
}

/// `ACCOUNT=PERCENT`.
fn share(context: &Context, text: &str) -> Result<Royalty, Failure> {
    let wrong = || {
        Failure::usage(format!(
            "`{text}` is not ACCOUNT=PERCENT, such as client=12.5"
        ))
    };
    let (account, percent) = text.rsplit_once('=').ok_or_else(wrong)?;
    let millionths = percent_millionths(percent).ok_or_else(wrong)?;
    let account = context.account(account)?;
    Ok(Royalty {
        account,
        millionths,
    })
}

/// Up to four digits behind the point, exactly.
fn percent_millionths(percent: &str) -> Option<u32> {
    let (whole, fraction) = percent.split_once('.').unwrap_or((percent, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 4 {
        return None;
    }
    let whole: u32 = whole.parse().ok()?;
    let fraction: u32 = format!("{fraction:0<4}").parse().ok()?;
    let millionths = whole.checked_mul(10_000)?.checked_add(fraction)?;
    (1..=MILLION).contains(&millionths).then_some(millionths)
}

pub(super) async fn price(
    global: &Global,
    args: PriceArgs,
    output: &Output,
) -> Result<(), Failure> {
    let deed = Deed::begin(global, &args.name, &args.signer).await?;
    let (client, name) = (&deed.client, &deed.name);
    let (set, what) = match args.level {
        Some(level) if args.price == "model" => {
            let set = client.set_level_price(name, level, None).await;
            (set, format!("at level {level} as at the others"))
        }
        Some(level) => {
            let price = amount(&args.price)?;
            let set = client.set_level_price(name, level, Some(price)).await;
            (set, format!("{price} a record at level {level}"))
        }
        None => {
            let price = amount(&args.price)?;
            let set = client.set_price(name, price).await;
            (set, format!("{price} a record"))
        }
    };
    let finalised = set.map_err(Failure::failed)?;
    let text = format!("{name} costs {what}, on tickets from now on");
    deed.done(output, finalised, json!({ "price": what }), &text)
}

pub(super) async fn standing(
    global: &Global,
    args: StandingArgs,
    output: &Output,
) -> Result<(), Failure> {
    let deed = Deed::begin(global, &args.name, &args.signer).await?;
    let version = ModelVersion(args.version);
    let (standing, word) = match args.standing {
        StandingArg::Current => (None, "current"),
        StandingArg::Deprecated => (Some(Standing::Deprecated), "deprecated"),
        StandingArg::Yanked => (Some(Standing::Yanked), "yanked"),
    };
    let set = deed
        .client
        .set_standing(&deed.name, version, standing)
        .await;
    let finalised = set.map_err(Failure::failed)?;
    let what = json!({ "version": version.0, "standing": word });
    let text = format!("version {version} of {} is {word}", deed.name);
    deed.done(output, finalised, what, &text)
}

pub(super) async fn history(global: &Global, name: &str, output: &Output) -> Result<(), Failure> {
    let name: ModelName = name.parse().map_err(Failure::failed)?;
    let registry = Context::load(global)?.registry().await?;
    let model = found(&registry, &name).await?;
    let rights = registry.rights(&name).await.map_err(Failure::failed)?;
    let offer = registry.offer(&name).await.map_err(Failure::failed)?;
    let transfers = registry.transfers(&name).await.map_err(Failure::failed)?;
    let numbers = registry.versions(&name).await.map_err(Failure::failed)?;
    // Versions and transfers as they came about.
    let mut events = Vec::new();
    for number in numbers {
        let version = registry.version(&name, number).await;
        let Some(version) = version.map_err(Failure::failed)? else {
            continue;
        };
        let standing = rights
            .standings
            .get(&number)
            .map(|standing| match standing {
                Standing::Deprecated => "deprecated",
                Standing::Yanked => "yanked",
            });
        let levels: Vec<_> = version
            .levels
            .iter()
            .map(|level| level.to_string())
            .collect();
        let note = standing.map_or(String::new(), |word| format!(" ({word} since)"));
        events.push((
            version.published_at,
            json!({
                "version": number.0,
                "at_ms": version.published_at.0,
                "commitment": version.commitment.to_string(),
                "levels": levels,
                "standing": standing.unwrap_or("current"),
            }),
            format!("version {number} at {}{note}", levels.join(", ")),
        ));
    }
    for transfer in transfers {
        events.push((
            transfer.at,
            json!({
                "from": transfer.from.to_string(),
                "to": transfer.to.to_string(),
                "price": transfer.price.to_string(),
                "at_ms": transfer.at.0,
            }),
            format!(
                "from {} to {} for {}",
                transfer.from, transfer.to, transfer.price
            ),
        ));
    }
    events.sort_by_key(|(at, _, _)| *at);
    let offered = offer.map(|offer| {
        json!({
            "to": offer.to.to_string(), "price": offer.price.to_string(), "until_ms": offer.until.0,
        })
    });
    let prices = rights.level_prices.iter();
    let prices = prices.map(|(level, price)| (level.to_string(), json!(price.to_string())));
    let report = json!({
        "model": name.to_string(),
        "owner": model.owner.to_string(),
        "price_per_record": model.price_per_record.to_string(),
        "level_prices": prices.collect::<serde_json::Map<_, _>>(),
        "terms": terms_json(&rights.terms),
        "royalties": rights.royalties.iter().map(royalty_json).collect::<Vec<_>>(),
        "offer": offered,
        "events": events.iter().map(|(_, event, _)| event).collect::<Vec<_>>(),
    });
    output.result(&report, |_| {
        let mut lines = vec![
            format!(
                "{name}: owner {}, {} a record",
                model.owner, model.price_per_record
            ),
            format!("  {}", terms_text(&rights.terms)),
        ];
        lines.extend(
            rights
                .royalties
                .iter()
                .map(|r| format!("  {}", royalty_text(r))),
        );
        lines.extend(events.iter().map(|(at, _, text)| format!("  {at}  {text}")));
        lines.extend(offer.map(|offer| {
            format!(
                "  offered to {} for {} until {}",
                offer.to, offer.price, offer.until
            )
        }));
        lines.join("\n")
    })
}

impl From<PurposeArg> for Purpose {
    fn from(purpose: PurposeArg) -> Self {
        match purpose {
            PurposeArg::Commercial => Self::Commercial,
            PurposeArg::NonCommercial => Self::NonCommercial,
        }
    }
}

/// An amount in AIL, as `--price` has it.
fn amount(text: &str) -> Result<Planck, Failure> {
    format!("{text} AIL").parse().map_err(Failure::failed)
}

fn from_now(hours: u32) -> UnixMillis {
    UnixMillis::now().saturating_add(Duration::from_secs(3600 * u64::from(hours)))
}

fn terms_json(terms: &Terms) -> Value {
    json!({
        "access": access(terms.access),
        "purpose": terms.purpose.to_string(),
        "regions": terms.regions.iter().map(|region| region.as_str()).collect::<Vec<_>>(),
        "until_ms": terms.until.map(|until| until.0),
        "licence": terms.licence,
    })
}

fn terms_text(terms: &Terms) -> String {
    let who = match terms.access {
        Access::Anyone => "anyone may use it",
        Access::Granted => "accounts with a grant may use it",
    };
    let regions: Vec<_> = terms.regions.iter().map(|region| region.as_str()).collect();
    let place = match regions.is_empty() {
        true => "on workers anywhere".to_owned(),
        false => format!("on workers in {}", regions.join(", ")),
    };
    let end = terms
        .until
        .map_or(String::new(), |until| format!(", until {until}"));
    let licence = match terms.licence.is_empty() {
        true => String::new(),
        false => format!("; licence: {}", terms.licence),
    };
    format!(
        "{who}, {} use, {place}{end}{licence}",
        purpose_text(terms.purpose)
    )
}

fn access(access: Access) -> &'static str {
    match access {
        Access::Anyone => "anyone",
        Access::Granted => "granted",
    }
}

fn purpose_text(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Commercial => "any",
        Purpose::NonCommercial => "non-commercial",
    }
}

fn grant_json(grant: &Grant) -> Value {
    json!({
        "purpose": grant.purpose.to_string(),
        "until_ms": grant.until.map(|until| until.0),
    })
}

fn grant_text(grant: &Grant) -> String {
    let end = grant
        .until
        .map_or("until it is revoked".to_owned(), |until| {
            format!("until {until}")
        });
    format!("{} use, {end}", purpose_text(grant.purpose))
}

fn royalty_json(royalty: &Royalty) -> Value {
    json!({ "account": royalty.account.to_string(), "millionths": royalty.millionths })
}

fn royalty_text(royalty: &Royalty) -> String {
    let percent = f64::from(royalty.millionths) / 10_000.0;
    format!("{percent} % of the owner's price is {}'s", royalty.account)
}

#[cfg(test)]
mod tests {
    use super::percent_millionths;

    #[test]
    fn parts_are_read_exactly_or_not_at_all() {
        assert_eq!(percent_millionths("12.5"), Some(125_000));
        assert_eq!(percent_millionths("100"), Some(1_000_000));
        assert_eq!(percent_millionths("0.0001"), Some(1));
        for bad in ["", "0", "100.0001", "-1", "1.23456", ".5", "1e1", "x", "+1"] {
            assert_eq!(percent_millionths(bad), None, "{bad}");
        }
    }
}
