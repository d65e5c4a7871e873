//! How the live table looks: lines of text for a terminal of a given size.

use super::state::State;
use crate::words;
use record::{SensorKind, Wall};

/// The lines to show at `now`, each at most `width` characters, at most `height` of them.
pub(crate) fn lines(state: &State, now: Wall, width: usize, height: usize) -> Vec<String> {
    let mut lines = header(state);
    let room = height.saturating_sub(lines.len() + 2);
    let open: Vec<String> = state
        .open
        .iter()
        .map(|it| words::connection_line_as_of(&it.connection, now))
        .collect();
    let for_open = open
        .len()
        .min(room.div_ceil(2).max(room.saturating_sub(state.ended.len())));
    lines.push(bold(&words::connection_heading()));
    lines.extend(open.iter().rev().take(for_open).cloned());
    let for_ended = room.saturating_sub(for_open + 1);
    lines.push(dim(&format!("── ended, newest first {}", "─".repeat(60))));
    lines.extend(
        state
            .ended
            .iter()
            .rev()
            .take(for_ended)
            .map(words::connection_line),
    );
    lines.truncate(height);
    lines.into_iter().map(|line| fit(&line, width)).collect()
}

fn header(state: &State) -> Vec<String> {
    let host = words::clean(state.device.as_ref().map_or("", |device| &device.hostname));
    let lost = match (state.lost_closes, state.lost_unknown) {
        (0, false) => "none lost".to_owned(),
        (count, false) => format!("{count} declared lost"),
        (count, true) => format!("{count} and more declared lost"),
    };
    let mut lines = vec![format!(
        "{}  {} open, {} ended, {lost}   Ctrl-C ends",
        bold(&format!("Conntrail on {host}")),
        state.open.iter().count(),
        state.ended_count,
    )];
    match state.sensor {
        Some(SensorKind::LinuxSampled) => {
            let why = words::clean(state.limits.first().map_or("", String::as_str));
            lines.push(bold(&format!(
                "REDUCED: socket tables are polled, short connections are missed. {why}"
            )));
        }
        Some(SensorKind::LinuxEbpf | SensorKind::MacosFilter | SensorKind::Replay) => {}
        None => lines.push("No sensor has reported yet.".to_owned()),
    }
    if state.stands_aside {
        lines.push(bold(
            "BREAKER: the sensor stands aside, connections pass unseen.",
        ));
    }
    if state.recorder_stopped {
        lines.push(bold("The recorder has stopped."));
    }
    if let Some((at, kind)) = &state.latest_notice {
        let words = words::notice_words(kind);
        lines.push(dim(&notice(*at, words.lines().next().unwrap_or_default())));
    }
    lines
}

fn notice(at: Wall, words: &str) -> String {
    format!("{}  {words}", words::clock_time(at))
}

fn bold(text: &str) -> String {
    format!("\x1b[1m{text}\x1b[0m")
}

fn dim(text: &str) -> String {
    format!("\x1b[2m{text}\x1b[0m")
}

/// Cuts to `width` characters; our own bold and dim take no room and are kept.
/// [`words`] lets no other control character through.
fn fit(text: &str, width: usize) -> String {
    let mut fitted = String::with_capacity(text.len());
    let mut room = width;
    let mut in_style = false;
    for letter in text.chars() {
        in_style |= letter == '\x1b';
        if in_style {
            fitted.push(letter);
            in_style = letter != 'm';
        } else if room > 0 {
            fitted.push(letter);
            room -= 1;
        }
    }
    fitted
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{Connection, Notice, NoticeKind, Phase, Record, Stamp, sample};
    use std::sync::Arc;

    fn state(records: Vec<Record>) -> State {
        let device = Arc::new(sample::device());
        let mut state = State::default();
        records
            .into_iter()
            .for_each(|record| state.apply(record, &device));
        state
    }

    fn open(records: Vec<Record>) -> Vec<Record> {
        let opened = |record| match record {
            Record::Connection(connection) => Record::Connection(Connection {
                phase: Phase::Open,
                ..connection
            }),
            Record::Notice(_) => record,
        };
        records.into_iter().map(opened).collect()
    }

    fn visible(line: &str) -> usize {
        line.replace("\x1b[1m", "")
            .replace("\x1b[2m", "")
            .replace("\x1b[0m", "")
            .chars()
            .count()
    }

    #[test]
    fn it_fits_every_terminal() {
        let mut records = open(sample::closes(1, 50));
        records.extend(sample::closes(2, 300).split_off(60));
        let state = state(records);
        for (width, height) in [(0, 0), (1, 1), (80, 24), (200, 3), (40, 100)] {
            let lines = lines(&state, Wall(0), width, height);
            assert!(lines.len() <= height);
            assert!(lines.iter().all(|line| visible(line) <= width), "{lines:?}");
        }
    }

    #[test]
    fn open_and_ended_share_the_screen() {
        let mut records = open(sample::closes(1, 60));
        records.extend(sample::closes(2, 300).split_off(60));
        let text = lines(&state(records), Wall(0), 200, 24).join("\n");
        assert!(text.contains("60 open, 240 ended, none lost"), "{text}");
        assert_eq!(text.matches(" open  ").count(), 10, "{text}");
    }

    #[test]
    fn a_sensor_that_stands_aside_is_said_until_it_is_back() {
        let changed = |state| {
            Record::Notice(Notice {
                at: Stamp::default(),
                kind: NoticeKind::BreakerChanged {
                    state,
                    cause: record::BreakerCause::Crashes,
                    crashes: 3,
                },
            })
        };
        let tripped = changed(record::BreakerState::Tripped);
        let healed = changed(record::BreakerState::Healed);
        let text = |records| lines(&state(records), Wall(0), 200, 24).join("\n");
        let aside = "connections pass unseen.";
        assert!(text(vec![tripped.clone()]).contains(aside));
        assert!(!text(vec![tripped, healed]).contains(aside));
    }

    #[test]
    fn no_notice_takes_more_than_its_line() {
        for record in sample::records(5, 500) {
            if let Record::Notice(_) = &record {
                let lines = lines(&state(vec![record]), Wall(0), 200, 24);
                assert!(lines.iter().all(|line| !line.contains('\n')), "{lines:?}");
            }
        }
    }

    #[test]
    fn the_reduced_mode_and_losses_are_said() {
        let limits = vec!["The account may not load programs.".to_owned()];
        let notice = |kind| {
            Record::Notice(Notice {
                at: Stamp::default(),
                kind,
            })
        };
        let text = lines(
            &state(vec![
                notice(NoticeKind::SensorStarted {
                    sensor: SensorKind::LinuxSampled,
                    limits,
                }),
                notice(NoticeKind::Lost {
                    stage: record::LossStage::Kernel,
                    cause: record::LossCause::RingFull,
                    what: record::LostKind::Closes,
                    count: Some(17),
                    since: Stamp::default(),
                }),
            ]),
            Wall(0),
            200,
            24,
        )
        .join("\n");
        assert!(
            text.contains("REDUCED") && text.contains("may not load programs"),
            "{text}"
        );
        assert!(text.contains("17 declared lost"), "{text}");
    }
}
