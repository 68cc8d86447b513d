//! Looking on while a worker works.

/// The steps of a round, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A burst has been received.
    Receive,
    /// The front stage of the newest burst is done.
    Front,
    /// The burst before it has its backends.
    Steer,
    /// That burst has its verdicts and headers, and what does not leave by one port is dealt out to the outputs.
    Finish,
    /// All has been sent.
    Send,
}

impl Step {
    /// All steps, in order.
    pub const ALL: [Step; 5] = [
        Step::Receive,
        Step::Front,
        Step::Steer,
        Step::Finish,
        Step::Send,
    ];
}

/// Told when a step of a round is done. The unit type looks away and costs nothing.
pub trait Observer {
    /// `step` has just been done.
    fn done(&mut self, step: Step);
}

impl Observer for () {
    #[inline(always)]
    fn done(&mut self, _: Step) {}
}
