//! An instance that can be called, and takes any number of calls.

use nano_routing::{Candidate, Figures, Keyed, Reach};

pub(crate) struct Instance {
    pub(crate) id: usize,
    pub(crate) figures: Figures,
}

impl Keyed for Instance {
    type Id = usize;

    fn id(&self) -> usize {
        self.id
    }
}

impl Candidate for Instance {
    fn reach(&self) -> Reach {
        Reach::Connected
    }

    fn figures(&self) -> &Figures {
        &self.figures
    }
}
