//! `rail trace`: which backend a flow goes to, and why.

mod since;

use std::fmt::Write as _;
use std::io::{self, BufRead};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path as FilePath, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use since::{LastChange, last_change};

use super::store::{date, short};
use super::{CANNOT_TELL, ERROR, OK, USAGE, diagnostics, output};
use crate::control::compile::CompileError;
use crate::control::desired::{Desired, Fault};
use crate::control::trace::{Answer, Flow, MixedFamilies, Tracer};
use crate::pool::{Affinity, Environment, Protocol, load_for};
use crate::store::StoreError;
use crate::wire::IpProtocol;

/// The command line of `rail trace`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "rail trace [OPTIONS] --config <FILE> <PROTOCOL> <SOURCE> <DESTINATION>\n       \
                            rail trace [OPTIONS] --store <DIR> [--at <COMMIT>] <PROTOCOL> <SOURCE> <DESTINATION>\n       \
                            rail trace [OPTIONS] --config <FILE>|--store <DIR> --batch"
)]
pub struct Args {
    /// The configuration file
    #[arg(long, value_name = "FILE", required_unless_present = "store")]
    pub config: Option<PathBuf>,

    /// The store whose pool answers: the repository itself, or a clone of it
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    pub store: Option<PathBuf>,

    /// The state of the store that answers: a branch or a commit (default: what is checked out or being bisected,
    /// else main)
    #[arg(long, value_name = "COMMIT", requires = "store")]
    pub at: Option<String>,

    /// The flow: tcp, udp, sctp, dccp, udplite or a protocol number; the client and where its
    /// packets go to, as in 198.51.100.7:4242 or [2001:db8::7]:4242
    #[arg(
        num_args = 3,
        value_names = ["PROTOCOL", "SOURCE", "DESTINATION"],
        required_unless_present = "batch",
        conflicts_with = "batch"
    )]
    pub flow: Vec<String>,

    /// Read flows from standard input, one "PROTOCOL SOURCE DESTINATION" a line
    #[arg(long)]
    pub batch: bool,

    /// Only compare: exit 0 if the flow goes to this backend, 1 if not, 125 if it cannot be told
    #[arg(long, value_name = "BACKEND", conflicts_with = "batch")]
    pub expect: Option<String>,

    /// Print JSON; with --batch one object a line
    #[arg(long)]
    pub json: bool,
}

/// Answers for one flow or for many.
pub fn run(args: &Args) -> ExitCode {
    // Under `--expect`, 1 says "another backend": whatever keeps from knowing is something else.
    let failure = match args.expect {
        Some(_) => CANNOT_TELL,
        None => ERROR,
    };
    let done = match (&args.store, &args.config) {
        (Some(directory), _) => from_store(args, directory),
        (None, Some(file)) => match load_for(file, &Environment::any()) {
            // Warnings are `rail check`'s to show.
            Ok((config, _)) => answer(&Tracer::new(&config), args, |_, _| Ok(None)),
            Err(found) => {
                diagnostics::show(&found);
                return ExitCode::from(failure);
            }
        },
        (None, None) => Err(TraceError::NoPool),
    };
    done.map_or_else(
        |error| {
            output::message(&format!("error: {error}"));
            let usage = matches!(error, TraceError::Text(_)) && args.expect.is_none();
            ExitCode::from(if usage { USAGE } else { failure })
        },
        ExitCode::from,
    )
}

/// Finds the commit since which a flow has its answer, if there is a history.
type Since<'a> = dyn Fn(&Flow, &Answer) -> Result<Option<LastChange>, TraceError> + 'a;

fn answer(
    tracer: &Tracer,
    args: &Args,
    since: impl Fn(&Flow, &Answer) -> Result<Option<LastChange>, TraceError>,
) -> Result<u8, TraceError> {
    match args.flow.as_slice() {
        [protocol, source, destination] => {
            one(tracer, [protocol, source, destination], args, &since)
        }
        _ => batch(tracer, args.json).map(|()| OK),
    }
}

/// Answers by the pool of a store's commit. Which addresses are a rail's own is not in the pool.
fn from_store(args: &Args, directory: &FilePath) -> Result<u8, TraceError> {
    let desired = Desired::open(directory, false)?;
    let commit = match &args.at {
        Some(text) => desired.store().resolve(text)?,
        None => {
            let resolve = |text| desired.store().resolve(text);
            match resolve("BISECT_HEAD")? {
                Some(commit) => Some(commit),
                None => resolve("HEAD")?,
            }
        }
    };
    let commit = commit.ok_or(TraceError::NoCommit)?;
    let pool = desired
        .pool(&commit)?
        .map_err(|fault| TraceError::Fault { fault })?;
    let tracer = Tracer::of_pool(&pool, &[]);
    answer(&tracer, args, |flow, answer| {
        // Under `--expect` nobody reads it.
        if args.expect.is_some() {
            return Ok(None);
        }
        last_change(&desired, commit, flow, answer)
    })
}

/// Why a flow could not be traced.
#[derive(Debug, thiserror::Error)]
enum TraceError {
    #[error(transparent)]
    Text(#[from] FlowTextError),
    #[error(transparent)]
    Compile(#[from] CompileError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("no such branch or commit")]
    NoCommit,
    #[error("the pool there is not valid: {message}: {fault}", message = fault.message)]
    Fault { fault: Fault },
    #[error("name a pool with --config or --store")]
    NoPool,
    #[error("standard input, line {line}: {source}")]
    Line { line: usize, source: FlowTextError },
    #[error("standard input, line {line}: {source}")]
    Read { line: usize, source: io::Error },
}

/// Why a text is not a flow.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum FlowTextError {
    #[error("a flow is written as in: tcp 198.51.100.7:4242 203.0.113.10:443")]
    Shape,
    #[error("\"{0}\" is not a protocol: tcp, udp, sctp, dccp, udplite, or a number up to 255")]
    Protocol(String),
    #[error(
        "ICMP is answered by the rail or goes where the packet it quotes went: trace that packet's flow"
    )]
    Icmp,
    #[error("\"{0}\" is not an address and a port, as in 198.51.100.7:4242 or [2001:db8::7]:4242")]
    End(String),
    #[error("\"{0}\" has no port, which {1} needs: write {0}:PORT, with brackets around IPv6")]
    NoPort(String, IpProtocol),
    #[error("\"{0}\" has a port, which protocol {1} knows nothing of")]
    NeedlessPort(String, IpProtocol),
    #[error(transparent)]
    MixedFamilies(#[from] MixedFamilies),
}

fn one(
    tracer: &Tracer,
    texts: [&str; 3],
    args: &Args,
    since: &Since<'_>,
) -> Result<u8, TraceError> {
    let flow = flow(texts)?;
    let answer = tracer.trace(&flow)?;
    let since = since(&flow, &answer)?;
    if args.json {
        let mut json = to_json(texts, &answer);
        if let Some(since) = since {
            json["since"] = json!({
                "commit": since.commit.to_string(),
                "date": since.date,
                "author": since.author,
                "message": since.subject,
            });
        }
        output::result(&format!("{json:#}"));
    } else {
        let mut text = to_text(texts, &answer);
        if let Some(since) = since {
            let (id, date) = (short(&since.commit), date(since.date));
            let _ = write!(
                text,
                "\nsince    {id} {date} {}: {}",
                since.author, since.subject
            );
        }
        output::result(&text);
    }
    Ok(match (&args.expect, backend_name(&answer)) {
        (None, _) => OK,
        (Some(expected), Some(name)) if expected == name => OK,
        (Some(_), _) => ERROR,
    })
}

/// Traces the flows on standard input, in order; a line that is none leaves nothing printed.
fn batch(tracer: &Tracer, as_json: bool) -> Result<(), TraceError> {
    let mut out = String::new();
    let mut rows = output::table(&["flow", "service", "slot", "backend", "why"]);
    for (index, line) in io::stdin().lock().lines().enumerate() {
        let line_number = index + 1;
        let text = line.map_err(|source| TraceError::Read {
            line: line_number,
            source,
        })?;
        if text.trim().is_empty() {
            continue;
        }
        let parsed = words(&text).and_then(|texts| Ok((texts, flow(texts)?)));
        let (texts, flow) = parsed.map_err(|source| TraceError::Line {
            line: line_number,
            source,
        })?;
        let answer = tracer.trace(&flow)?;
        if as_json {
            let _ = writeln!(out, "{}", to_json(texts, &answer));
        } else {
            rows.add_row(row(texts, &answer));
        }
    }
    if !as_json {
        out = output::lines(&mut rows).join("\n");
    }
    output::result(&out);
    Ok(())
}

fn words(line: &str) -> Result<[&str; 3], FlowTextError> {
    let words: Vec<_> = line.split_whitespace().collect();
    words.try_into().map_err(|_| FlowTextError::Shape)
}

fn flow([protocol, source, destination]: [&str; 3]) -> Result<Flow, FlowTextError> {
    let protocol = self::protocol(protocol)?;
    let (source, destination) = (end(source, protocol)?, end(destination, protocol)?);
    Ok(Flow::new(protocol, source, destination)?)
}

fn protocol(text: &str) -> Result<IpProtocol, FlowTextError> {
    let word = Protocol::WORDS.iter().find(|(word, _)| *word == text);
    let protocol = match word {
        Some((_, protocol)) => protocol.number(),
        None => text.parse().ok(),
    };
    match protocol.map(IpProtocol) {
        Some(IpProtocol::ICMP | IpProtocol::ICMPV6) => Err(FlowTextError::Icmp),
        Some(protocol) => Ok(protocol),
        None if matches!(text, "icmp" | "icmpv6") => Err(FlowTextError::Icmp),
        None => Err(FlowTextError::Protocol(text.to_owned())),
    }
}

/// An address with a port where the protocol has ports, without one where it has none.
fn end(text: &str, protocol: IpProtocol) -> Result<(IpAddr, u16), FlowTextError> {
    let bare = |text: &str| text.parse::<IpAddr>().ok().map(|ip| (ip, 0));
    let bracketed = |text: &str| {
        let inside = text.strip_prefix('[')?.strip_suffix(']')?;
        inside.parse::<Ipv6Addr>().ok().map(|ip| (ip.into(), 0))
    };
    let with_port = text.parse::<SocketAddr>().ok();
    let without = bare(text).or_else(|| bracketed(text));
    match (protocol.has_ports(), with_port, without) {
        (true, Some(end), _) => Ok((end.ip(), end.port())),
        (true, None, Some(_)) => Err(FlowTextError::NoPort(text.to_owned(), protocol)),
        (false, _, Some(end)) => Ok(end),
        (false, Some(_), None) => Err(FlowTextError::NeedlessPort(text.to_owned(), protocol)),
        (_, None, None) => Err(FlowTextError::End(text.to_owned())),
    }
}

fn backend_name<'a>(answer: &Answer<'a>) -> Option<&'a str> {
    match answer {
        Answer::Backend(_, backend) => Some(backend.name.as_str()),
        _ => None,
    }
}

/// Whether something is pinned or hashed can only be told where there is a connection table.
fn why(answer: &Answer) -> &'static str {
    match answer {
        Answer::Backend(..) => "hashed",
        Answer::NoBackend(_) => "no_backend",
        Answer::NoService => "no_service",
        Answer::Host => "host",
        Answer::NotOurs => "not_ours",
    }
}

fn explanation(answer: &Answer) -> &'static str {
    match answer {
        Answer::Backend(choice, _) if !choice.service.track => {
            "hashed, as every packet of a service that is not tracked"
        }
        Answer::Backend(..) => "hashed: a connection pinned before a change may be elsewhere",
        Answer::NoBackend(_) => "dropped (no_backend): no backend of the service takes new flows",
        Answer::NoService => {
            "dropped (no_service): a VIP without a service for this protocol and port"
        }
        Answer::Host => "passed to the host: an address of the rail itself, broadcast or multicast",
        Answer::NotOurs => "dropped (not_ours): neither a VIP nor an address of the rail",
    }
}

fn to_json([protocol, source, destination]: [&str; 3], answer: &Answer) -> Value {
    let (choice, backend) = match answer {
        Answer::Backend(choice, backend) => (Some(choice), Some(backend)),
        Answer::NoBackend(choice) => (Some(choice), None),
        Answer::NoService | Answer::Host | Answer::NotOurs => (None, None),
    };
    json!({
        "protocol": protocol,
        "source": source,
        "destination": destination,
        "service": choice.map(|c| c.service.name.as_str()),
        "affinity": choice.map(|c| c.service.affinity.as_str()),
        "tracked": choice.map(|c| c.service.track),
        "hash": choice.map(|c| format!("{:016x}", c.hash.0)),
        "slot": choice.map(|c| c.slot),
        "m": choice.map(|c| c.size.get()),
        "backend": backend.map(|b| b.name.as_str()),
        "address": backend.map(|b| b.address.to_string()),
        "state": backend.map(|b| b.state.as_str()),
        "why": why(answer),
    })
}

fn row([protocol, source, destination]: [&str; 3], answer: &Answer) -> [String; 5] {
    let choice = match answer {
        Answer::Backend(choice, _) | Answer::NoBackend(choice) => Some(choice),
        Answer::NoService | Answer::Host | Answer::NotOurs => None,
    };
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    [
        format!("{protocol} {source} {destination}"),
        or_dash(choice.map(|c| c.service.name.to_string())),
        or_dash(choice.map(|c| c.slot.to_string())),
        or_dash(backend_name(answer).map(str::to_owned)),
        why(answer).to_owned(),
    ]
}

fn to_text([protocol, source, destination]: [&str; 3], answer: &Answer) -> String {
    let mut rows = output::table(&[]);
    rows.add_row([
        "flow".into(),
        format!("{protocol} {source} -> {destination}"),
    ]);
    if let Answer::Backend(choice, _) | Answer::NoBackend(choice) = answer {
        let over = match choice.service.affinity {
            Affinity::Flow => "protocol, addresses and ports",
            Affinity::Source => "protocol and addresses",
        };
        rows.add_row(["service".into(), choice.service.name.to_string()]);
        rows.add_row(["hash".into(), format!("{:016x} over {over}", choice.hash.0)]);
        rows.add_row(["slot".into(), format!("{} of {}", choice.slot, choice.size)]);
    }
    if let Answer::Backend(_, backend) = answer {
        rows.add_row([
            "backend".into(),
            format!("{} at {}", backend.name, backend.address),
        ]);
        rows.add_row(["state".into(), backend.state.as_str().to_owned()]);
    }
    rows.add_row(["why".into(), explanation(answer).to_owned()]);
    output::lines(&mut rows).join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_as_people_write_them() {
        let check = |text: &str, expected: Result<(), &str>| {
            let got = words(text).and_then(flow).map(|_| ());
            let got = got.map_err(|error| error.to_string());
            match expected {
                Ok(()) => assert_eq!(got, Ok(()), "{text}"),
                Err(part) => assert!(
                    got.clone().is_err_and(|e| e.contains(part)),
                    "{text}: {got:?}"
                ),
            }
        };
        check("tcp 198.51.100.7:4242 203.0.113.10:443", Ok(()));
        check("udp [2001:db8::7]:4242 [2001:db8::10]:53", Ok(()));
        check("6 198.51.100.7:4242 203.0.113.10:443", Ok(()));
        check("50 198.51.100.7 203.0.113.10", Ok(()));
        check("50 2001:db8::7 [2001:db8::10]", Ok(()));
        check("tcp 198.51.100.7:4242", Err("as in: tcp"));
        check("tpc 198.51.100.7:1 203.0.113.10:443", Err("not a protocol"));
        check("any 198.51.100.7:1 203.0.113.10:443", Err("not a protocol"));
        check("256 198.51.100.7:1 203.0.113.10:443", Err("not a protocol"));
        check("icmp 198.51.100.7 203.0.113.10", Err("ICMP"));
        check("1 198.51.100.7 203.0.113.10", Err("ICMP"));
        check("tcp 198.51.100.7 203.0.113.10:443", Err("has no port"));
        check("tcp 2001:db8::7 [2001:db8::10]:443", Err("has no port"));
        check("50 198.51.100.7:4 203.0.113.10", Err("has a port"));
        check(
            "tcp 198.51.100.7:70000 203.0.113.10:443",
            Err("not an address"),
        );
        check("tcp 198.51.100.7:1 [2001:db8::10]:443", Err("not both"));
    }

    #[test]
    fn ports_of_a_protocol_without_any_do_not_count() {
        let ends = |port| (IpAddr::from([198, 51, 100, 7]), port);
        let flow = |port| Flow::new(IpProtocol::ESP, ends(port), ends(port));
        assert_eq!(flow(0), flow(443));
    }
}
