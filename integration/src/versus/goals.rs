//! What nanod is to reach beside its peers, and whether it does.

use nano_wire::transport::STREAM_WINDOW;

use crate::compare::{
    Case::{self, Body1m, Body64k, Direct, HttpHttp, HttpQuic, Lossy, Switched, Typed},
    Measured, Point,
};

/// One figure that is to be reached.
pub(crate) struct Goal {
    case: Case,
    name: &'static str,
    in_flight: usize,
    measure: Measure,
    /// The figure is divided by the same of this one, if any; of another case at times.
    beside: Option<(Case, &'static str)>,
    bound: Bound,
}

#[derive(Clone, Copy)]
enum Measure {
    /// Calls, and so bytes, per second.
    Calls,
    P50,
    P99,
    /// Processor time of the router per call, in microseconds.
    RouterCpu,
    /// What the router's memory has grown by from the fewer calls in flight before: per call, in
    /// windows of a stream.
    RouterMemory,
}

#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

use Bound::{AtLeast, AtMost};
use Measure::{Calls, P50, P99, RouterCpu, RouterMemory};

/// All of them.
pub(crate) const GOALS: &[Goal] = &[
    Goal::of(Switched, 1, P50, "nats", AtMost(0.7)),
    Goal::of(Switched, 64, Calls, "nats", AtLeast(2.0)),
    Goal::of(Switched, 256, Calls, "nats", AtLeast(3.0)),
    Goal::of(Switched, 256, P99, "nats", AtMost(0.4)),
    Goal::of(Switched, 1024, Calls, "nats", AtLeast(3.0)),
    Goal {
        beside: None,
        ..Goal::of(Switched, 256, RouterCpu, "nanod", AtMost(3.0))
    },
    Goal::of(Direct, 256, Calls, "grpc_tls", AtLeast(5.0)),
    Goal::of(Direct, 256, Calls, "raw_lane", AtLeast(0.85)),
    Goal {
        beside: Some((Direct, "nanod")),
        ..Goal::of(Typed, 256, Calls, "nanod", AtLeast(0.6))
    },
    Goal::of(Typed, 256, Calls, "grpc_tls", AtLeast(6.0)),
    Goal {
        name: "nanod_json",
        ..Goal::of(Typed, 256, Calls, "nanod", AtLeast(0.5))
    },
    Goal::of(Body64k, 16, Calls, "nats_tls", AtLeast(1.0)),
    Goal::of(Body1m, 16, Calls, "nats_tls", AtLeast(1.0)),
    // What has come on one connection and what has gone on the other, and room that is not filled.
    // The whole of a body of 1 MiB would be 4.
    Goal {
        beside: None,
        ..Goal::of(Body64k, 16, RouterMemory, "nanod", AtMost(3.0))
    },
    Goal {
        beside: None,
        ..Goal::of(Body1m, 16, RouterMemory, "nanod", AtMost(3.0))
    },
    Goal::of(Lossy, 1, P99, "nats", AtMost(2.0)),
    Goal::of(Lossy, 64, P99, "nats", AtMost(2.0)),
    Goal::of(HttpQuic, 64, Calls, "nginx", AtLeast(2.5)),
    Goal::of(HttpQuic, 64, P99, "nginx", AtMost(0.5)),
    Goal::of(HttpQuic, 256, Calls, "nginx", AtLeast(3.0)),
    Goal::of(HttpQuic, 256, P99, "nginx", AtMost(0.5)),
    Goal::of(HttpHttp, 1, Calls, "nginx", AtLeast(1.0)),
    Goal::of(HttpHttp, 16, Calls, "nginx", AtLeast(1.0)),
    Goal::of(HttpHttp, 64, Calls, "nginx", AtLeast(1.0)),
    Goal::of(HttpHttp, 256, Calls, "nginx", AtLeast(1.0)),
];

/// What was found beside a goal.
pub(crate) struct Judged {
    pub(crate) found: f64,
    pub(crate) is_met: bool,
}

impl Goal {
    /// Of nanod beside a peer of the same case.
    const fn of(
        case: Case,
        in_flight: usize,
        measure: Measure,
        peer: &'static str,
        bound: Bound,
    ) -> Self {
        Self {
            case,
            name: "nanod",
            in_flight,
            measure,
            beside: Some((case, peer)),
            bound,
        }
    }

    /// What it is about.
    pub(crate) fn case(&self) -> Case {
        self.case
    }

    /// What is compared, as people read it.
    pub(crate) fn says(&self) -> String {
        let (case, unit) = (self.case.name(), self.case.unit());
        let (in_flight, name, measure) = (self.in_flight, self.name, self.measure.says());
        let beside = match self.beside {
            Some((case, peer)) if case == self.case => format!(" beside {peer}"),
            Some((case, peer)) => format!(" beside {peer} of {}", case.name()),
            None => String::new(),
        };
        format!("{case}, {in_flight} {unit}: {measure} of {name}{beside}")
    }

    /// What is to be reached, as people read it.
    pub(crate) fn bound(&self) -> String {
        match self.bound {
            AtLeast(least) => format!("at least {least}"),
            AtMost(most) => format!("at most {most}"),
        }
    }

    /// Judges by a run's points; `None` if they do not have what it is about.
    pub(crate) fn judge(&self, points: &[Point]) -> Option<Judged> {
        let figure = |case, name| {
            let measured = find(points, case, self.in_flight, name)?;
            self.measure.of(measured, self.in_flight)
        };
        let own = figure(self.case, self.name)?;
        let other = match self.beside {
            Some((case, name)) => figure(case, name)?,
            None => 1.0,
        };
        let found = own / other;
        Some(Judged {
            found,
            is_met: self.bound.holds(found),
        })
    }
}

fn find<'a>(points: &'a [Point], case: Case, in_flight: usize, name: &str) -> Option<&'a Measured> {
    let mut points = points.iter();
    let point = points.find(|point| point.case == case && point.in_flight == in_flight)?;
    point.contenders().find(|measured| measured.name == name)
}

impl Measure {
    fn of(self, measured: &Measured, in_flight: usize) -> Option<f64> {
        match self {
            Calls => Some(measured.calls_per_s),
            P50 => Some(measured.p50_us),
            P99 => Some(measured.p99_us),
            RouterCpu => measured.cpu.router,
            RouterMemory => measured.memory.map(|memory| {
                let grown = memory.peak.saturating_sub(memory.before);
                grown as f64 / in_flight as f64 / f64::from(STREAM_WINDOW)
            }),
        }
    }

    fn says(self) -> &'static str {
        match self {
            Calls => "calls/s",
            P50 => "p50",
            P99 => "p99",
            RouterCpu => "router's processor time per call, us,",
            RouterMemory => "router's memory per call, windows of 256 KiB,",
        }
    }
}

impl Bound {
    fn holds(self, found: f64) -> bool {
        match self {
            AtLeast(least) => found >= least,
            AtMost(most) => found <= most,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{AtLeast, AtMost};

    #[test]
    fn a_bound_holds_at_itself_and_on_its_side() {
        let found = [0.9, 1.0, 1.1];
        assert_eq!(
            found.map(|found| AtLeast(1.0).holds(found)),
            [false, true, true]
        );
        assert_eq!(
            found.map(|found| AtMost(1.0).holds(found)),
            [true, true, false]
        );
    }
}
