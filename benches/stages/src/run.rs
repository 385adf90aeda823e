//! A stage that is ready to be run: what it works with, and what waits for its next runs.

/// Why a stage could not be set up, or did not do what it should.
pub type Fault = Box<dyn std::error::Error + Send + Sync>;

/// A stage with all that it works with.
pub trait Run {
    /// Makes what one run more takes. Not measured.
    fn prepare(&mut self) -> Result<(), Fault>;

    /// Runs once, on the oldest of what was prepared. This is what is measured.
    fn run(&mut self) -> Result<(), Fault>;
}

/// A stage of a `State` that takes an `Input` with each run.
pub struct Staged<State, Input> {
    state: State,
    make: fn(&mut State) -> Result<Input, Fault>,
    run: fn(&mut State, Input) -> Result<(), Fault>,
    waiting: std::collections::VecDeque<Input>,
}

impl<State: 'static, Input: 'static> Staged<State, Input> {
    /// It takes what `make` makes.
    pub fn boxed(
        state: State,
        make: fn(&mut State) -> Result<Input, Fault>,
        run: fn(&mut State, Input) -> Result<(), Fault>,
    ) -> Box<dyn Run> {
        Box::new(Self {
            state,
            make,
            run,
            waiting: std::collections::VecDeque::new(),
        })
    }
}

impl<State, Input> Run for Staged<State, Input> {
    fn prepare(&mut self) -> Result<(), Fault> {
        let input = (self.make)(&mut self.state)?;
        self.waiting.push_back(input);
        Ok(())
    }

    fn run(&mut self) -> Result<(), Fault> {
        let input = self.waiting.pop_front().ok_or("nothing was prepared")?;
        (self.run)(&mut self.state, input)
    }
}

/// An error with this text, unless it holds.
pub fn ensure(holds: bool, what: &'static str) -> Result<(), Fault> {
    if holds { Ok(()) } else { Err(what.into()) }
}
