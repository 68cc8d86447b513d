//! `/metrics`: everything the rail counts, as Prometheus reads it.
//!
//! The registry is filled anew at every scrape from the counters the workers keep, so that nothing on
//! the packet path knows about it. Names are `rustyrail_*` in base units; per service and backend, or per
//! worker, never the product of both; a client's address never appears. `deploy/metrics.md` lists them.

mod ports;
mod rails;
mod services;
mod state;
mod workers;

use prometheus::core::Collector;
use prometheus::{
    Counter, CounterVec, Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::control::rail::Rail;

/// The media type of [`text`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// The exposition text.
pub fn text(rail: &Rail) -> Result {
    let page = Page(Registry::new());
    services::fill(&page, rail)?;
    workers::fill(&page, rail)?;
    state::fill(&page, rail)?;
    ports::fill(&page, rail)?;
    rails::fill(&page, rail)?;
    let mut text = TextEncoder::new().encode_to_string(&page.0.gather())?;
    text += &workers::bursts(rail);
    Ok(text)
}

/// What making a metric answers. It fails for names and labels that Prometheus would not take, which
/// the tests would have seen.
type Result<T = String> = std::result::Result<T, prometheus::Error>;

/// A registry that makes and registers a metric in one step.
struct Page(Registry);

impl Page {
    fn add<M: Collector + Clone + 'static>(&self, metric: M) -> Result<M> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    /// Counters of seconds.
    fn times(&self, name: &str, help: &str, labels: &[&str]) -> Result<CounterVec> {
        self.add(CounterVec::new(Opts::new(name, help), labels)?)
    }

    fn counter(&self, name: &str, help: &str, value: u64) -> Result<()> {
        self.add(IntCounter::new(name, help)?)?.inc_by(value);
        Ok(())
    }

    fn time(&self, name: &str, help: &str, seconds: f64) -> Result<()> {
        self.add(Counter::new(name, help)?)?.inc_by(seconds);
        Ok(())
    }

    fn gauge(&self, name: &str, help: &str, value: i64) -> Result<()> {
        self.add(IntGauge::new(name, help)?)?.set(value);
        Ok(())
    }

    /// A moment, in seconds since 1970.
    fn moment(&self, name: &str, help: &str, seconds: f64) -> Result<()> {
        self.add(Gauge::new(name, help)?)?.set(seconds);
        Ok(())
    }
}
