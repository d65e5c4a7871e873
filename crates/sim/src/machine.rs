//! A simulated computer and the sensor that watches it.
//!
//! There is a true history: processes that fork, run other programs and end, connections that
//! carry bytes, clocks that are set, a lid that is closed. And there is what a sensor says of it,
//! in the manner of Linux or of macOS, with what goes wrong on the way. Both come from the seed
//! alone.

mod history;
mod nonsense;
mod sensor;
mod shape;

pub use history::{True, TrueProcess};
pub use shape::{Faults, Shape, Style};

use crate::dice::Dice;
use flow::Event;
use history::History;
use record::{Mono, Stamp, Wall};
use sensor::Sensor;
use std::collections::BTreeMap;

/// A computer with a sensor.
#[derive(Debug)]
pub struct Machine {
    shape: Shape,
    dice: Dice,
    now: Mono,
    /// How far the wall clock is ahead of where it began, beside the monotonic clock.
    wall_ahead_ns: i64,
    asleep_until: Mono,
    /// What will happen, in the order it will.
    agenda: BTreeMap<(Mono, u64), Action>,
    last_number: u64,
    history: History,
    sensor: Sensor,
}

/// What the recorder gets, or that nothing came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    /// What the clocks read then. The monotonic clock never goes back.
    pub at: Stamp,
    /// What the sensor says; `None` where only time passes.
    pub event: Option<Event>,
}

/// Something that will happen.
#[derive(Clone, Debug)]
enum Action {
    /// The sensor is heard.
    Deliver(Box<Event>),
    /// A connection begins.
    Connect,
    /// A connection carries something.
    Transfer(u64),
    /// A connection ends.
    End(u64),
    /// Processes come, change and go.
    Churn,
    /// Somebody makes many connections at once.
    Burst,
    /// The sensor's own beat: it reads the clocks, declares what it lost, sweeps.
    Beat,
    /// The lid is closed.
    Sleep,
    /// Somebody sets the wall clock.
    SetClock,
    /// The sensor starts to watch and looks at what is there.
    Watch,
    /// Nothing happens.
    Pass,
}

const SECOND_NS: u64 = 1_000_000_000;

/// When every machine begins.
const BEGIN: Stamp = Stamp {
    wall: Wall(1_790_000_000_000_000_000),
    mono: Mono(1_000 * SECOND_NS),
};

impl Machine {
    /// A machine that is about to be watched; the same for the same seed and shape.
    pub fn new(seed: u64, shape: Shape) -> Machine {
        let mut machine = Machine {
            shape,
            dice: Dice::new(seed ^ 0x6d61_6368_696e_6521),
            now: BEGIN.mono,
            wall_ahead_ns: 0,
            asleep_until: Mono(0),
            agenda: BTreeMap::new(),
            last_number: 0,
            history: History::new(),
            sensor: Sensor::default(),
        };
        machine.begin();
        machine
    }

    /// What the clocks read now.
    pub fn clocks(&self) -> Stamp {
        let wall = BEGIN.wall_at(self.now);
        Stamp {
            wall: Wall(wall.0 + self.wall_ahead_ns),
            mono: self.now,
        }
    }

    /// What happens next. Never ends.
    #[expect(clippy::should_implement_trait, reason = "there is always a next one")]
    pub fn next(&mut self) -> Happening {
        loop {
            let ((due, _), action) = self
                .agenda
                .pop_first()
                .expect("the beat puts itself on the agenda again");
            self.now = self.now.max(due).max(self.asleep_until);
            match action {
                Action::Deliver(event) => return self.happening(Some(*event)),
                Action::Pass => return self.happening(None),
                Action::Connect => self.connect_and_go_on(),
                Action::Transfer(number) => self.transfer(number),
                Action::End(number) => self.end(number),
                Action::Churn => self.churn(),
                Action::Burst => self.burst(),
                Action::Beat => self.beat(),
                Action::Sleep => self.sleep(),
                Action::SetClock => self.set_clock(),
                Action::Watch => self.watch(),
            }
        }
    }

    /// The recorder was started again: what was on its way to it is gone, and later events are told
    /// as by a sensor that has just come.
    pub fn restart(&mut self) {
        self.agenda
            .retain(|_, action| !matches!(action, Action::Deliver(_) | Action::Watch));
        self.sensor = Sensor::default();
        self.plan(0, Action::Watch);
    }

    /// Every connection that there ever was, in the order they began, also those that were never
    /// told of.
    pub fn truth(&self) -> impl Iterator<Item = &True> {
        self.history.connections.values()
    }

    /// Since when the sensor watches, if it does.
    pub fn watched_since(&self) -> Option<Mono> {
        self.sensor.watching_since
    }

    /// The processes that were ever told of or had connections, by their keys.
    pub fn process(&self, key: record::ProcessKey) -> Option<&TrueProcess> {
        self.history.processes.get(&key)
    }

    fn happening(&self, event: Option<Event>) -> Happening {
        Happening {
            at: self.clocks(),
            event,
        }
    }

    fn begin(&mut self) {
        for _ in 0..3 {
            self.fork();
        }
        for _ in 0..self.dice.below(12) {
            self.connect();
        }
        self.plan(SECOND_NS, Action::Watch);
        self.plan(SECOND_NS, Action::Connect);
        self.plan(SECOND_NS, Action::Churn);
        self.plan(2 * SECOND_NS, Action::Beat);
        let sleep_ns = self.after(3_600 * SECOND_NS);
        self.plan(sleep_ns, Action::Sleep);
        let set_ns = self.after(1_800 * SECOND_NS);
        self.plan(set_ns, Action::SetClock);
        if self.shape.burst > 0 {
            let burst_ns = self.after(1_000 * self.shape.gap_ns);
            self.plan(burst_ns, Action::Burst);
        }
    }

    fn plan(&mut self, in_ns: u64, action: Action) {
        self.last_number += 1;
        let due = self.now.plus_ns(in_ns);
        self.agenda.insert((due, self.last_number), action);
    }

    /// Around `mean_ns`, from nearly nothing to twice as much.
    fn after(&mut self, mean_ns: u64) -> u64 {
        1 + self.dice.below(2 * mean_ns)
    }

    fn sleep(&mut self) {
        let duration_ns = match self.dice.below(3) {
            0 => self.after(5 * SECOND_NS),
            1 => self.after(600 * SECOND_NS),
            _ => self.after(36_000 * SECOND_NS),
        };
        self.hear(Event::Sleeping);
        self.plan(duration_ns, Action::Pass);
        let slept = Action::Deliver(Box::new(Event::Slept { duration_ns }));
        self.plan(duration_ns, slept);
        let again_ns = self.after(7_200 * SECOND_NS);
        self.plan(duration_ns + again_ns, Action::Sleep);
        // What the sensor said before the lid fell is still heard before it.
        self.asleep_until = self.now.plus_ns(duration_ns);
    }

    fn set_clock(&mut self) {
        let by_ns = match self.dice.below(4) {
            0 => self.dice.below(50_000_000),
            1 => self.dice.below(10 * SECOND_NS),
            2 => self.dice.below(3_600 * SECOND_NS),
            _ => self.dice.below(2 * 86_400 * SECOND_NS),
        } as i64;
        let back = self.dice.one_in(2);
        self.wall_ahead_ns += if back { -by_ns } else { by_ns };
        self.read_clocks();
        let again_ns = self.after(1_800 * SECOND_NS);
        self.plan(again_ns, Action::SetClock);
    }

    fn read_clocks(&mut self) {
        let Stamp { wall, mono } = self.clocks();
        self.hear(Event::ClockRead { mono, wall });
    }

    /// The recorder hears it at once, whatever else is wrong.
    fn hear(&mut self, event: Event) {
        self.plan(0, Action::Deliver(Box::new(event)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::Origin;

    fn happenings(machine: &mut Machine, count: usize) -> Vec<Happening> {
        (0..count).map(|_| machine.next()).collect()
    }

    #[test]
    fn a_seed_is_a_history() {
        for shape in Shape::ALL {
            let [one, same, other] =
                [3, 3, 4].map(|seed| happenings(&mut Machine::new(seed, *shape), 500));
            assert_eq!(one, same);
            assert_ne!(one, other);
        }
    }

    #[test]
    fn the_monotonic_clock_never_goes_back_and_the_wall_clock_does() {
        let told = happenings(&mut Machine::new(1, Shape::OFFICE), 20_000);
        let mut pairs = told.iter().zip(&told[1..]);
        assert!(pairs.clone().all(|(one, next)| one.at.mono <= next.at.mono));
        assert!(pairs.any(|(one, next)| next.at.wall < one.at.wall));
    }

    #[test]
    fn after_a_restart_the_sensor_introduces_itself_and_finds_what_is_there() {
        let mut machine = Machine::new(5, Shape::SERVER.faithful());
        happenings(&mut machine, 3_000);
        let open = machine.truth().filter(|it| it.closed.is_none()).count();
        machine.restart();
        let told = happenings(&mut machine, 3_000);
        let first = told.iter().find_map(|it| it.event.as_ref());
        assert!(matches!(first, Some(Event::SensorStarted { .. })));
        let opened = told.iter().filter_map(|it| match &it.event {
            Some(Event::Opened(opened)) => Some(opened.origin),
            Some(_) | None => None,
        });
        let found = opened.filter(|it| *it == Origin::Snapshot).count();
        assert!(open > 0 && found == open, "{found} of {open} were found");
    }
}
