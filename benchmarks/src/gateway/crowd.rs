//! Many requests at the same time: each is answered, or told to come again later and then answered.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;
use serde::Serialize;

use super::net::{CONCURRENCY, Net};
use super::tensors::{SMALL, http, small};

/// Longer than it can take; who is turned away for so long is lost.
const ANSWERED_WITHIN: Duration = Duration::from_secs(300);

/// What became of them.
#[derive(Debug, Serialize)]
pub(super) struct Crowd {
    requests: u32,
    /// What the gateway works on at once.
    concurrency: u16,
    answered: u32,
    /// Of those, how many at the first try.
    at_once: u32,
    /// Answers 429, each with `Retry-After`.
    turned_away: u32,
    /// Neither answered nor turned away.
    lost: u32,
    took_s: f64,
}

pub(super) async fn measure(net: &Net, requests: u32) -> anyhow::Result<Crowd> {
    let (http, record) = (http()?, small()?);
    let started = Instant::now();
    let each = (0..requests).map(|number| {
        let (http, record) = (&http, &record);
        async move {
            let mut turned_away = 0;
            loop {
                let response = record.request(net, http, SMALL).send().await?;
                let status = response.status();
                if status.is_success() {
                    response.bytes().await?;
                    return anyhow::Ok(turned_away);
                }
                if status != StatusCode::TOO_MANY_REQUESTS || started.elapsed() > ANSWERED_WITHIN {
                    bail!("{status}: {}", response.text().await?);
                }
                let after = response
                    .headers()
                    .get(RETRY_AFTER)
                    .context("429 without Retry-After")?;
                let after = Duration::from_secs(after.to_str()?.parse()?);
                turned_away += 1;
                // Not all at the same moment again.
                let spread = Duration::from_millis(u64::from(number * 37 % 1_000));
                tokio::time::sleep(after + spread).await;
            }
        }
    });
    let outcomes = futures::future::join_all(each).await;
    let took = started.elapsed();
    let mut crowd = Crowd {
        requests,
        concurrency: CONCURRENCY,
        answered: 0,
        at_once: 0,
        turned_away: 0,
        lost: 0,
        took_s: took.as_secs_f64(),
    };
    for outcome in outcomes {
        match outcome {
            Ok(turned_away) => {
                crowd.answered += 1;
                crowd.at_once += u32::from(turned_away == 0);
                crowd.turned_away += turned_away;
            }
            Err(error) => {
                eprintln!("lost: {error:#}");
                crowd.lost += 1;
            }
        }
    }
    Ok(crowd)
}
