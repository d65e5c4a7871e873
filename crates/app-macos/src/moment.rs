//! When to replace the extension: replacing it resets the TCP connections that are open.
//!
//! After a wake or a restart few connections are alive that anyone would miss; in a window of the
//! night, nobody is there to miss them.

use record::Mono;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// When to replace the extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// At once.
    Now,
    /// When the machine wakes from sleep.
    Wake,
    /// After the next start of the machine.
    Reboot,
    /// In these hours of the day.
    Window(Window),
}

/// Which moment to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// This one.
    At(Moment),
    /// The one in the settings, which may change meanwhile.
    Configured,
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<When, String> {
        match text {
            "configured" => Ok(When::Configured),
            other => Ok(When::At(other.parse()?)),
        }
    }
}

/// Hours of the day, where the machine is; the end is not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Minutes after midnight.
    pub from: u16,
    /// Minutes after midnight; before `from` when midnight lies between.
    pub to: u16,
}

const DAY_MINUTES: u16 = 24 * 60;

impl Window {
    /// Whether a minute of the day, from 0 to 1,439, is in it.
    pub fn contains(self, minute: u16) -> bool {
        match self.from < self.to {
            true => (self.from..self.to).contains(&minute),
            false => minute >= self.from || minute < self.to,
        }
    }

    /// Minutes from `minute` until it next begins; zero within it.
    pub fn minutes_until(self, minute: u16) -> u16 {
        match self.contains(minute) {
            true => 0,
            false => (self.from + DAY_MINUTES - minute) % DAY_MINUTES,
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Moment, String> {
        match text {
            "now" => return Ok(Moment::Now),
            "wake" => return Ok(Moment::Wake),
            "reboot" => return Ok(Moment::Reboot),
            _ => {}
        }
        let window = text.strip_prefix("window ").unwrap_or(text).split_once('-');
        let minutes = window.and_then(|(from, to)| Some((minute(from)?, minute(to)?)));
        match minutes {
            Some((from, to)) if from != to => Ok(Moment::Window(Window { from, to })),
            Some(_) => Err(format!("\"{text}\" is empty: its two times are the same")),
            None => Err(format!(
                "\"{text}\" is none of configured, now, wake, reboot, or a window such as \
                 02:00-05:30"
            )),
        }
    }
}

fn minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let two_digits = |text: &str| {
        let fine = text.len() == 2 && text.bytes().all(|it| it.is_ascii_digit());
        fine.then(|| text.parse::<u16>().ok()).flatten()
    };
    let (hours, minutes) = (two_digits(hours)?, two_digits(minutes)?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Moment::Now => f.write_str("now"),
            Moment::Wake => f.write_str("when the machine wakes"),
            Moment::Reboot => f.write_str("after the next start of the machine"),
            Moment::Window(Window { from, to }) => write!(
                f,
                "between {:02}:{:02} and {:02}:{:02}",
                from / 60,
                from % 60,
                to / 60,
                to % 60
            ),
        }
    }
}

/// What is known at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Situation {
    /// Minutes after midnight, where the machine is; `None` where the clock cannot say.
    pub minute_of_day: Option<u16>,
    /// The machine slept and woke since the order was given.
    pub woke: bool,
    /// The machine was started anew since the order was given.
    pub rebooted: bool,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The moment is there.
    Go,
    /// It is not; ask again after this time at the latest.
    Wait(Duration),
    /// It cannot come while this program runs.
    AfterReboot,
}

/// A wake must be noticed before people open their programs again.
const WAKE_STEP: Duration = Duration::from_secs(2);

/// The wall clock can be set, and the zone changed, at any time.
const WINDOW_STEP: Duration = Duration::from_secs(60);

/// Whether the moment is there.
pub fn decide(moment: Moment, now: Situation) -> Decision {
    match moment {
        Moment::Now => Decision::Go,
        Moment::Wake if now.woke || now.rebooted => Decision::Go,
        Moment::Wake => Decision::Wait(WAKE_STEP),
        Moment::Reboot if now.rebooted => Decision::Go,
        Moment::Reboot => Decision::AfterReboot,
        Moment::Window(window) => match now.minute_of_day {
            Some(minute) if window.contains(minute) => Decision::Go,
            Some(minute) => {
                let left = Duration::from_secs(u64::from(window.minutes_until(minute)) * 60);
                Decision::Wait(left.min(WINDOW_STEP))
            }
            None => Decision::Wait(WINDOW_STEP),
        },
    }
}

/// Notices that the machine slept: one clock goes on in sleep and the other does not.
#[derive(Clone, Copy, Debug)]
pub struct SleepWatch {
    continuous: Mono,
    awake_ns: u64,
}

/// A shorter sleep leaves connections alive, as when the lid was closed for a moment.
const SLEEP_MIN_NS: u64 = 60_000_000_000;

impl SleepWatch {
    /// Begins with both clocks read one right after the other: `continuous` goes on in sleep,
    /// `awake_ns` does not.
    pub fn new(continuous: Mono, awake_ns: u64) -> SleepWatch {
        SleepWatch {
            continuous,
            awake_ns,
        }
    }

    /// Whether the machine slept for at least a minute, all in all, since the beginning.
    pub fn slept(&self, continuous: Mono, awake_ns: u64) -> bool {
        let passed_ns = continuous.since_ns(self.continuous);
        let awake_ns = awake_ns.saturating_sub(self.awake_ns);
        passed_ns.saturating_sub(awake_ns) >= SLEEP_MIN_NS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute_of_day: u16) -> Situation {
        Situation {
            minute_of_day: Some(minute_of_day),
            ..Situation::default()
        }
    }

    #[test]
    fn moments_are_read_and_wrong_ones_explained() {
        assert_eq!("now".parse(), Ok(Moment::Now));
        assert_eq!("wake".parse(), Ok(Moment::Wake));
        assert_eq!("reboot".parse(), Ok(Moment::Reboot));
        let night = Moment::Window(Window {
            from: 1380,
            to: 330,
        });
        assert_eq!("window 23:00-05:30".parse(), Ok(night));
        assert_eq!("23:00-05:30".parse(), Ok(night));
        let told = [Moment::Now, Moment::Wake, Moment::Reboot, night].map(|it| it.to_string());
        assert_eq!(told[0], "now");
        assert_eq!(told[1], "when the machine wakes");
        assert_eq!(told[2], "after the next start of the machine");
        assert_eq!(told[3], "between 23:00 and 05:30");
        for wrong in [
            "",
            "later",
            "24:00-01:00",
            "1:00-02:00",
            "02:60-03:00",
            "02:00",
            "+2:00-03:00",
        ] {
            let error = wrong.parse::<Moment>().unwrap_err();
            assert!(error.contains("02:00-05:30"), "{error}");
        }
        assert!(
            "02:00-02:00"
                .parse::<Moment>()
                .unwrap_err()
                .contains("empty")
        );
    }

    #[test]
    fn the_moment_may_be_the_configured_one() {
        assert_eq!("configured".parse(), Ok(When::Configured));
        assert_eq!("wake".parse(), Ok(When::At(Moment::Wake)));
        assert!("Configured".parse::<When>().is_err());
    }

    #[test]
    fn a_window_is_waited_for_to_the_minute_even_over_midnight() {
        let night: Moment = "23:00-05:30".parse().unwrap();
        for inside in [1380, 1439, 0, 329] {
            assert_eq!(decide(night, at(inside)), Decision::Go, "{inside}");
        }
        for outside in [330, 720, 1379] {
            let decision = decide(night, at(outside));
            assert_eq!(
                decision,
                Decision::Wait(Duration::from_secs(60)),
                "{outside}"
            );
        }
        let window = Window {
            from: 1380,
            to: 330,
        };
        assert_eq!(window.minutes_until(330), 1050);
        assert_eq!(window.minutes_until(1379), 1);
        assert_eq!(window.minutes_until(0), 0);
        assert_eq!(Window { from: 10, to: 20 }.minutes_until(30), 1420);
        let unknown = Situation::default();
        assert_eq!(decide(night, unknown), Decision::Wait(WINDOW_STEP));
    }

    // facts: rule-12-upgrade-when-it-hurts-least
    #[test]
    fn a_wake_or_a_restart_is_waited_for() {
        assert_eq!(decide(Moment::Now, Situation::default()), Decision::Go);
        assert_eq!(decide(Moment::Wake, at(0)), Decision::Wait(WAKE_STEP));
        assert_eq!(decide(Moment::Reboot, at(0)), Decision::AfterReboot);
        let woke = Situation {
            woke: true,
            ..at(0)
        };
        assert_eq!(decide(Moment::Wake, woke), Decision::Go);
        assert_eq!(decide(Moment::Reboot, woke), Decision::AfterReboot);
        let rebooted = Situation {
            rebooted: true,
            ..at(0)
        };
        assert_eq!(decide(Moment::Wake, rebooted), Decision::Go);
        assert_eq!(decide(Moment::Reboot, rebooted), Decision::Go);
    }

    #[test]
    fn sleep_shows_in_the_difference_of_two_clocks() {
        let second = 1_000_000_000;
        let watch = SleepWatch::new(Mono(100 * second), 40 * second);
        assert!(!watch.slept(Mono(100 * second), 40 * second));
        assert!(
            !watch.slept(Mono(3_700 * second), 3_640 * second),
            "an hour awake"
        );
        assert!(
            !watch.slept(Mono(189 * second), 70 * second),
            "59 seconds asleep"
        );
        assert!(watch.slept(Mono(190 * second), 70 * second));
        assert!(!watch.slept(Mono(0), 0), "clocks that go back show nothing");
    }
}
