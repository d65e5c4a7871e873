//! How the live table looks: lines of text for a terminal of a given size.

use super::state::State;
use crate::words;
use record::{SensorKind, Wall};

/// The lines to show at `now`, each at most `width` characters, at most `height` of them.
pub(crate) fn lines(state: &State, now: Wall, width: usize, height: usize) -> Vec<String> {
    let mut lines = header(state);
    let room = height.saturating_sub(lines.len() + 2);
    let (heading, open) = open_lines(state, now);
    let for_open = open
        .len()
        .min(room.div_ceil(2).max(room.saturating_sub(state.ended.len())));
    lines.push(bold(&heading));
    lines.extend(open.into_iter().take(for_open));
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

/// What is open, under a heading: the busiest first where that is known, else the newest.
fn open_lines(state: &State, now: Wall) -> (String, Vec<String>) {
    match &state.live {
        Ok(live) => {
            let lines = live.rows.iter().map(words::live_line);
            (words::live_heading(), lines.collect())
        }
        Err(_) => {
            let open: Vec<String> = state
                .open
                .iter()
                .map(|it| words::connection_line_as_of(&it.connection, now))
                .collect();
            let newest_first = open.into_iter().rev().collect();
            (words::connection_heading(), newest_first)
        }
    }
}

/// Where what is open is from.
fn source(state: &State) -> String {
    match &state.live {
        Ok(live) => {
            let mut remarks = words::live_remarks(&live.snapshot)
                .map(|it| format!("; {it}"))
                .unwrap_or_default();
            if live.unreadable > 0 {
                remarks += &format!("; {} cannot be read", live.unreadable);
            }
            let age = words::duration(live.age_ns);
            format!("Open: from the live table, {age} old{remarks}.")
        }
        Err(why) => {
            let why = words::clean(why);
            format!("Open: from the trail, as recorded, no rates: {why}.")
        }
    }
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
        match &state.live {
            Ok(live) => live.rows.len(),
            Err(_) => state.open.iter().count(),
        },
        state.ended_count,
    )];
    lines.push(dim(&source(state)));
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
    use super::super::state::Live;
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
        assert!(
            text.contains("from the trail, as recorded, no rates"),
            "{text}"
        );
    }

    #[test]
    fn what_the_live_table_tells_goes_before_what_the_trail_does() {
        let mut state = state(open(sample::closes(1, 60)));
        let mut connections = sample::closes(1, 2).into_iter().filter_map(|it| match it {
            Record::Connection(connection) => Some(connection),
            Record::Notice(_) => None,
        });
        let mut row = |rate: Option<u64>| live::Row {
            connection: connections.next().unwrap(),
            last_seen: None,
            rate: rate.map(|in_per_s| live::Rate {
                from: record::Mono(1),
                until: record::Mono(2),
                out_per_s: None,
                in_per_s: Some(in_per_s),
            }),
        };
        state.live = Ok(Live {
            snapshot: live::Snapshot {
                crowded: 3,
                withheld: 4,
                ..live::Snapshot::default()
            },
            age_ns: 1_200_000_000,
            rows: vec![row(Some(5_300)), row(None)],
            unreadable: 0,
        });
        let text = lines(&state, Wall(0), 250, 24).join("\n");
        assert!(text.contains("2 open, 0 ended"), "{text}");
        assert!(
            text.contains("from the live table, 1.2 s old; not shown: 3"),
            "{text}"
        );
        assert_eq!(text.matches("5.3 kB/s").count(), 1, "{text}");
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
