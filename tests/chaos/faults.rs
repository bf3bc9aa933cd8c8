//! What goes wrong, and when: decided by the seed.

use std::fmt;
use std::time::{Duration, Instant};

use crate::support::{Dice, Fleet, Line, Mode, Side};

/// Something that goes wrong for a while.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    what: What,
    lasts: Duration,
    /// Until the next one.
    pause: Duration,
}

#[derive(Clone, Copy, Debug)]
enum What {
    KillInstance(usize),
    Network { instance: usize, line: Line, mode: Mode },
    KillRedis(usize),
    PauseRedis(usize),
    KillPostgres,
}

/// Connections of an instance, PostgreSQL's twice: most depends on them.
const LINES: usize = 4;

/// Which things go wrong: those of one kind come one after the other, those of different kinds at the
/// same time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Lane {
    Instances,
    Servers,
}

impl Lane {
    /// How many kinds of fault it has.
    fn kinds(self) -> usize {
        match self {
            Lane::Instances => 10,
            Lane::Servers => 3,
        }
    }
}

/// A plan without an end: each kind of fault once, in any order, then again in another. What happens to a
/// connection happens to another one each time, so that in four rounds everything has happened to each.
pub struct Plan {
    lane: Lane,
    dice: Dice,
    nodes: usize,
    left: Vec<usize>,
    round: usize,
}

impl Plan {
    /// `nodes` are Redis's.
    pub fn new(lane: Lane, seed: u64, nodes: usize) -> Plan {
        let seed = match lane {
            Lane::Instances => seed ^ 0x1157_a2ce,
            Lane::Servers => seed ^ 0x5e7e_7e75,
        };
        let mut dice = Dice(seed);
        let round = dice.below(LINES);
        Plan { lane, dice, nodes, left: Vec::new(), round }
    }

    fn what(&mut self) -> What {
        if self.left.is_empty() {
            self.left = (0..self.lane.kinds()).collect();
            self.round += 1;
        }
        let kind = self.left.swap_remove(self.dice.below(self.left.len()));
        let dice = &mut self.dice;
        if self.lane == Lane::Servers {
            let node = dice.below(self.nodes);
            return match kind {
                0 => What::KillPostgres,
                1 => What::KillRedis(node),
                _ => What::PauseRedis(node),
            };
        }
        let instance = dice.below(3);
        let redis = Line::Redis(dice.below(self.nodes));
        let lines: [Line; LINES] = [Line::Postgres, redis, Line::Postgres, Line::Clients];
        let line = lines[(kind + self.round) % LINES];
        let side = [Side::Client, Side::Server][dice.below(2)];
        let mode = match kind {
            // Twice as often as anything else.
            0 | 1 => return What::KillInstance(instance),
            2 => Mode::Cut,
            3 => Mode::Delay(Duration::from_millis(5 + dice.below(40) as u64)),
            4 => Mode::Hold,
            5 => Mode::Lose(side),
            6 => Mode::HalfClose(side),
            // The same to everything that is behind it: what is on its way is cut off somewhere.
            7 => Mode::CutAfter(1 + dice.below(500)),
            8 => Mode::CutAfter(1 + dice.below(20_000)),
            // An answer that was committed does not arrive.
            _ => {
                return What::Network {
                    instance,
                    line: Line::Clients,
                    mode: Mode::Lose(Side::Server),
                };
            }
        };
        What::Network { instance, line, mode }
    }
}

impl Iterator for Plan {
    type Item = Fault;

    fn next(&mut self) -> Option<Fault> {
        let what = self.what();
        let lasts = Duration::from_millis(100 + self.dice.below(900) as u64);
        // Without PostgreSQL nothing happens, and it takes its time to come back.
        let most = if self.lane == Lane::Servers { 2_500 } else { 600 };
        let pause = Duration::from_millis(200 + self.dice.below(most) as u64);
        Some(Fault { what, lasts, pause })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what {
            What::KillInstance(at) => write!(f, "instance {at} is killed")?,
            What::Network { instance, line, mode } => {
                write!(f, "instance {instance} and {line:?}: {mode:?}")?;
            }
            What::KillRedis(node) => write!(f, "Redis {node} is killed")?,
            What::PauseRedis(node) => write!(f, "Redis {node} hangs")?,
            What::KillPostgres => write!(f, "PostgreSQL is killed")?,
        }
        write!(f, " for {:?}", self.lasts)
    }
}

impl Fault {
    /// Does it, and makes good again.
    pub async fn happen(self, fleet: &Fleet) {
        use tokio::task::block_in_place;
        match self.what {
            What::KillInstance(at) => {
                fleet.instances[at].kill().await;
                tokio::time::sleep(self.lasts).await;
                fleet.instances[at].launch().await;
            }
            What::Network { instance, line, mode } => {
                fleet.instances[instance].set(line, mode);
                tokio::time::sleep(self.lasts).await;
                fleet.instances[instance].set(line, Mode::Pass);
            }
            What::KillRedis(node) => {
                let redis = || fleet.redis[node].lock().expect("nobody panicked");
                redis().kill();
                tokio::time::sleep(self.lasts).await;
                block_in_place(|| redis().start_again());
            }
            What::PauseRedis(node) => {
                fleet.redis[node].lock().expect("nobody panicked").pause();
                tokio::time::sleep(self.lasts).await;
                fleet.redis[node].lock().expect("nobody panicked").resume();
            }
            What::KillPostgres => {
                let postgres = || fleet.postgres.lock().expect("nobody panicked");
                block_in_place(|| postgres().kill());
                tokio::time::sleep(self.lasts).await;
                block_in_place(|| postgres().start_again());
            }
        }
        tokio::time::sleep(self.pause).await;
    }
}

/// Lets things go wrong until it is time to stop, and each kind at least once. The last one is made good
/// again.
pub async fn run(plan: Plan, fleet: &Fleet, until: Instant, tell: impl Fn(String)) {
    let kinds = plan.lane.kinds();
    for (number, fault) in plan.enumerate() {
        if number >= kinds && Instant::now() >= until {
            return;
        }
        tell(fault.to_string());
        fault.happen(fleet).await;
    }
}
