//! A process that is one party: listens, meets the others, serves or conducts, and ends.
//!
//! Its only ties to the command that started it are a line each way. When that command is gone its input ends, and so does
//! this process.

use std::io::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ai_link_mpc::pool::PoolId;
use ai_link_program::Program;
use ai_link_session::links::SessionLinks;
use ai_link_wire::node::{BulkStream, Incoming, Node, NodeConfig, NodeLimits};
use ai_link_wire::{Identity, Multiaddr, PeerKey};
use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde::Serialize;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines, Stdin};
use tokio::time::timeout;

use super::conduct::Conductor;
use super::processes::{Gathering, Member};
use super::rundir::Files;
use super::seat::Seat;
use super::who::Who;
use super::{DEADLINE, Transport, runtime};

/// What a party's process is told on its command line.
#[derive(Clone, Debug, Args)]
pub(crate) struct PartyOptions {
    #[arg(long, value_enum)]
    party: Who,
    #[arg(long)]
    dir: PathBuf,
    #[arg(long)]
    listen: IpAddr,
    #[arg(long, value_enum)]
    transport: Transport,
}

/// How long the others may take to open their streams.
const MEET_WITHIN: Duration = Duration::from_secs(60);

/// Runs a party.
pub(crate) fn run_party(options: &PartyOptions) -> anyhow::Result<()> {
    let runtime = runtime()?;
    let done = runtime.block_on(attend(options));
    // A thread still waits for input, which ends when the command that started this does.
    runtime.shutdown_timeout(Duration::from_millis(100));
    done
}

async fn attend(options: &PartyOptions) -> anyhow::Result<()> {
    let who = options.party;
    let files = Files(options.dir.clone());
    let program = files.program()?;
    let weights = match who {
        Who::Client => None,
        _ => Some(files.weights(who, &program)?),
    };
    let (node, mut incoming) = start(options).await?;
    tell(&Member {
        who,
        key: node.peer_key(),
        addresses: addresses(&node, options.transport),
    })?;
    let mut input = BufReader::new(tokio::io::stdin()).lines();
    let line = input
        .next_line()
        .await?
        .context("nobody says who the others are")?;
    let gathering: Gathering = serde_json::from_str(&line)?;
    let pool = pool(&gathering, &program)?;
    let work = async {
        let mut links = meet(who, &node, &mut incoming, &gathering).await?;
        match weights {
            Some(hosted) => {
                let seat = Seat::new(who, program, gathering.batch, hosted, pool)?;
                let seat = match gathering.runs.profile {
                    true => seat.with_profile()?,
                    false => seat,
                };
                seat.serve(&mut links).await?;
            }
            None => {
                let conductor = Conductor {
                    program,
                    batch: gathering.batch,
                    inputs: files.inputs()?,
                    reference: files.reference()?,
                    pool,
                    iterations: gathering.runs.iterations,
                };
                tell(&conductor.conduct(&mut links).await?)?;
            }
        }
        links.close().await;
        anyhow::Ok(())
    };
    tokio::select! {
        done = work => done?,
        () = abandoned(&mut input) => bail!("the command that started {} is gone", who.name()),
    }
    node.shutdown().await;
    Ok(())
}

async fn start(options: &PartyOptions) -> anyhow::Result<(Node, Incoming)> {
    let address = match (options.listen, options.transport) {
        (IpAddr::V4(ip), Transport::Direct) => format!("/ip4/{ip}/tcp/0/tls"),
        (IpAddr::V6(ip), Transport::Direct) => format!("/ip6/{ip}/tcp/0/tls"),
        (IpAddr::V4(ip), Transport::Tcp) => format!("/ip4/{ip}/tcp/0"),
        (IpAddr::V6(ip), Transport::Tcp) => format!("/ip6/{ip}/tcp/0"),
        (IpAddr::V4(ip), Transport::Quic) => format!("/ip4/{ip}/udp/0/quic-v1"),
        (IpAddr::V6(ip), Transport::Quic) => format!("/ip6/{ip}/udp/0/quic-v1"),
    };
    let address: Multiaddr = address.parse()?;
    let config = NodeConfig {
        // The client's own listening serves QUIC, which dials from a socket that listens.
        listen: vec![address],
        limits: NodeLimits {
            stream_idle: DEADLINE,
            ..NodeLimits::default()
        },
        ..NodeConfig::client(Identity::generate())
    };
    Ok(Node::start(config).await?)
}

/// Where `node` is reached over `transport`. Beside libp2p's TCP there is a direct listener as well.
fn addresses(node: &Node, transport: Transport) -> Vec<Multiaddr> {
    let mut addresses = node.listen_addrs();
    let is_direct = |address: &Multiaddr| address.to_string().ends_with("/tls");
    addresses.retain(|address| is_direct(address) == (transport == Transport::Direct));
    addresses
}

/// Prints a line for the command that started this process.
fn tell(value: &impl Serialize) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, value)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// Returns when there is no more input.
async fn abandoned(input: &mut Lines<BufReader<Stdin>>) {
    while let Ok(Some(_)) = input.next_line().await {}
}

fn pool(gathering: &Gathering, program: &Program) -> anyhow::Result<PoolId> {
    let [_, dealer, zero, one] = gathering.members.as_slice() else {
        bail!("{} members instead of 4", gathering.members.len());
    };
    Ok(PoolId {
        program: program.digest(),
        batch: gathering.batch as u64,
        sharing: gathering.sharing,
        dealer: dealer.key.0,
        evaluators: vec![zero.key.0, one.key.0],
        session: gathering.pool,
    })
}

/// Opens streams, and takes those of the others.
async fn meet(
    who: Who,
    node: &Node,
    incoming: &mut Incoming,
    gathering: &Gathering,
) -> anyhow::Result<SessionLinks> {
    let member = |who: Who| {
        let found = gathering.members.iter().find(|member| member.who == who);
        found.with_context(|| format!("there is no {}", who.name()))
    };
    let mut streams: Vec<(Who, PeerKey, BulkStream)> = Vec::new();
    for other in who.opens() {
        let member = member(*other)?;
        let peer = member.key.peer_id();
        let stream = node.open(peer, &member.addresses, MEET_WITHIN).await;
        let stream = stream.with_context(|| format!("{} meets {}", who.name(), other.name()))?;
        streams.push((*other, member.key, stream));
    }
    while streams.len() < Who::ALL.len() - 1 {
        let next = timeout(MEET_WITHIN, incoming.streams.recv()).await;
        let next = next.with_context(|| format!("{} waits for the others", who.name()))?;
        let (peer, stream) = next.context("the node stopped")?;
        let key = PeerKey::try_from(peer)?;
        let found = gathering.members.iter().find(|member| member.key == key);
        let other = found.context("a stranger opened a stream")?.who;
        let known = streams.iter().any(|(who, _, _)| *who == other);
        ensure!(
            other.opens().contains(&who) && !known,
            "{} opened a stream",
            other.name()
        );
        streams.push((other, key, stream));
    }
    let links = streams
        .into_iter()
        .map(|(who, key, stream)| (who.party(), key, stream));
    Ok(SessionLinks::new(links))
}
