//! One measuring thread: a worker, what it is given to do, and the clocks.

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use crossbeam::queue::ArrayQueue;
use dpdk::{Burst, Mempool};

use crate::pipeline::Pipeline;
use crate::pipeline::shared::Shared;
use crate::table::HashKey;
use crate::table::conn::{ConnOwner, ConnSettings, ConnStats};
use crate::table::counters::Counters;
use crate::table::publish::Reader;
use crate::table::snapshot::Snapshot;
use crate::worker::clock::cpu_time;
use crate::worker::{
    Clock, EarlyFragments, Hold, HostEnd, Idle, Input, Observer, Output, Source, Step, TscClock,
    Worker,
};

use super::serve::Duty;
use super::traffic::{self, Traffic};
use super::{Answer, BenchError, Cost, Footprint, Load, Subject};

/// What a station is told to do.
pub(super) enum Order {
    /// Be a worker for this load.
    Load {
        load: Load,
        backends: usize,
        hash_key: HashKey,
    },
    /// Run, and tell what it cost.
    Run { subject: Subject, packets: u64 },
    /// Serve until `stop`, counting interrupted rounds.
    Serve {
        duty: Duty,
        stop: Arc<AtomicBool>,
        interrupted: Arc<AtomicU64>,
    },
}

/// Empty bursts in a row after which a port is called silent.
const SILENT: u32 = 1 << 20;

/// Packets let through before measuring, so that caches and branch predictors know the load.
const SETTLING: u64 = 1 << 17;

/// Rounds that took more ticks were interrupted, and say nothing about the steps: a burst takes 2,000 to
/// 5,000.
pub(super) const INTERRUPTED: u64 = 30_000;

pub(super) struct Station {
    pub(super) worker: Worker,
    index: usize,
    barrier: Arc<Barrier>,
    /// What comes from the port has its headers written here.
    makes_traffic: bool,
}

impl Station {
    pub(super) fn new(
        index: usize,
        (inputs, outputs): (Vec<Input>, Vec<Output>),
        reader: Reader<Snapshot>,
        pool: Mempool,
        clock: TscClock,
        barrier: Arc<Barrier>,
        makes_traffic: bool,
    ) -> Result<Self, BenchError> {
        let counters = Arc::new(Counters::new(0));
        let conns = ConnOwner::new(&ConnSettings {
            flows: 1,
            ..ConnSettings::default()
        })?;
        let key = HashKey::from_bytes([0; HashKey::BYTES]);
        let worker = Worker {
            inputs,
            outputs,
            pipeline: Pipeline::new(conns, Arc::clone(&counters), shared()?, key),
            reader,
            inbox: Arc::new(ArrayQueue::new(1)),
            pool,
            host: HostEnd::Void,
            hold: Hold::new(),
            early: EarlyFragments::with_capacity(0),
            idle: Idle::new(false),
            clock: Clock::Tsc(clock),
            counters,
        };
        Ok(Station {
            worker,
            index,
            barrier,
            makes_traffic,
        })
    }

    /// Does as told until nobody tells any more.
    pub(super) fn serve(
        &mut self,
        orders: &Receiver<Order>,
        answers: &Sender<Result<Answer, BenchError>>,
    ) {
        let mut answer = Ok(Answer::Ready);
        while answers.send(answer).is_ok() {
            answer = match orders.recv() {
                Ok(Order::Load {
                    load,
                    backends,
                    hash_key,
                }) => self.load(load, backends, hash_key).map(Answer::Loaded),
                Ok(Order::Run { subject, packets }) => Ok(Answer::Done(self.run(subject, packets))),
                Ok(Order::Serve {
                    duty,
                    stop,
                    interrupted,
                }) => {
                    let served = self.serve_until(duty, &stop, &interrupted);
                    Ok(Answer::Served(Box::new(served)))
                }
                Err(_) => break,
            };
        }
        self.worker.settle();
    }

    fn load(
        &mut self,
        load: Load,
        backends: usize,
        hash_key: HashKey,
    ) -> Result<Footprint, BenchError> {
        let conns = ConnOwner::new(&ConnSettings {
            flows: load.table_flows,
            ..ConnSettings::default()
        })?;
        let table = Arc::clone(conns.table());
        let counters = Arc::new(Counters::new(backends));
        self.worker.counters = Arc::clone(&counters);
        self.worker.pipeline = Pipeline::new(conns, counters, shared()?, hash_key);
        if self.makes_traffic {
            self.begin_traffic(&load);
        }
        Ok(Footprint {
            table: size_of_val::<[_]>(table.memory()),
            table_huge: table.memory().huge_bytes(),
        })
    }

    /// Lets every flow send once, and then as the load says.
    fn begin_traffic(&mut self, load: &Load) {
        let order = load
            .flows
            .map_or(traffic::Order::InTurn, traffic::Order::Random);
        let index = self.index;
        let traffic = |order, delay| -> Option<Box<dyn Source>> {
            let templates = load.templates.clone().into_boxed_slice();
            Some(Box::new(Traffic::new(
                templates, load.v6, order, index, delay,
            )))
        };
        if let Some(flows) = load.flows {
            // Every flow twice, so that all of them are established when measuring begins: a second packet
            // makes one that is not TCP.
            for _ in 0..2 {
                self.worker.inputs[0].set_source(traffic(traffic::Order::InTurn, 0));
                self.rounds(&mut (), flows);
            }
        }
        self.worker.inputs[0].set_source(traffic(order, load.delay));
        // New flows meet a table that is as full as it gets.
        let settling = load.flows.map_or(4 * load.table_flows as u64, |_| 0);
        self.rounds(&mut (), settling + SETTLING);
    }

    fn run(&mut self, subject: Subject, packets: u64) -> Cost {
        self.barrier.wait();
        let conns = *self.worker.pipeline.conn_stats();
        let sent = self.worker.counters.tx.packets.get();
        let mut steps = Steps::default();
        let start = cpu_time();
        let received = match subject {
            Subject::Port => self.pass(packets, false),
            Subject::Source => self.pass(packets, true),
            Subject::Worker => self.rounds(&mut (), packets),
            Subject::Steps => self.rounds(&mut steps, packets),
        };
        let cpu = cpu_time().saturating_sub(start);
        Cost {
            packets: received,
            sent: self.worker.counters.tx.packets.get() - sent,
            cpu,
            steps: steps.per_packet(received),
            conns: since(self.worker.pipeline.conn_stats(), &conns),
        }
    }

    /// The worker's own loop, for that many packets.
    fn rounds(&mut self, observer: &mut impl Observer, packets: u64) -> u64 {
        let (mut received, mut silent) = (0, 0);
        let mut last = dpdk::thread::tsc();
        let before = self.worker.counters.rx.packets.get();
        while received < packets && silent < SILENT {
            let now = self.worker.counters.rx.packets.get() - before;
            silent = if now == received { silent + 1 } else { 0 };
            received = now;
            last = self.worker.turn(last, observer);
        }
        received
    }

    /// Receives and sends, with or without writing headers in between.
    fn pass(&mut self, packets: u64, write: bool) -> u64 {
        let (input, output) = (&mut self.worker.inputs[0], &mut self.worker.outputs[0]);
        let source = if write { None } else { input.set_source(None) };
        let (mut received, mut silent) = (0, 0);
        let mut burst = Burst::new();
        while received < packets && silent < SILENT {
            input.poll(&mut burst);
            received += burst.len() as u64;
            silent = if burst.is_empty() { silent + 1 } else { 0 };
            output.pass(&mut burst);
        }
        if !write {
            input.set_source(source);
        }
        received
    }
}

/// Ticks spent in each step.
#[derive(Default)]
struct Steps {
    last: u64,
    round: [u64; Step::ALL.len()],
    rounds: u64,
    kept: u64,
    sums: [u64; Step::ALL.len()],
}

impl Observer for Steps {
    #[inline]
    fn done(&mut self, step: Step) {
        let now = dpdk::thread::tsc();
        self.round[step as usize] = now - self.last;
        self.last = now;
        if step == Step::Send {
            self.rounds += 1;
            if self.rounds > 1 && self.round.iter().sum::<u64>() < INTERRUPTED {
                self.kept += 1;
                for (sum, ticks) in self.sums.iter_mut().zip(self.round) {
                    *sum += ticks;
                }
            }
        }
    }
}

impl Steps {
    fn per_packet(&self, packets: u64) -> [f64; Step::ALL.len()] {
        // Interrupted rounds brought as many packets as others.
        let packets = packets as f64 * self.kept as f64 / self.rounds.max(1) as f64;
        self.sums.map(|ticks| ticks as f64 / packets.max(1.0))
    }
}

/// What workers share, of which this traffic asks nothing.
fn shared() -> Result<Shared, BenchError> {
    let news = Arc::new(ArrayQueue::new(1));
    Shared::new(1, Duration::from_secs(1), news).map_err(BenchError::Memory)
}

fn since(now: &ConnStats, before: &ConnStats) -> ConnStats {
    ConnStats {
        hits: now.hits - before.hits,
        misses: now.misses - before.misses,
        inserts: now.inserts - before.inserts,
        evictions: now.evictions - before.evictions,
        expired: now.expired - before.expired,
        repins: now.repins - before.repins,
        full: now.full - before.full,
        limited: now.limited - before.limited,
        occupancy: now.occupancy,
    }
}
