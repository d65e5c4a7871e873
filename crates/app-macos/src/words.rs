//! Lengths of time and names, for people.

use std::time::Duration;

/// A length of time in the unit that needs few digits.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match duration.as_secs() {
        0 => format!("{} ms", duration.as_millis()),
        1..120 => format!("{seconds:.0} s"),
        120..7_200 => format!("{:.0} min", seconds / 60.0),
        7_200..172_800 => format!("{:.0} h", seconds / 3_600.0),
        _ => format!("{:.0} days", seconds / 86_400.0),
    }
}

/// Whoever names an extension, a VPN or an app must not steer the reader's terminal.
pub fn clean(text: &str) -> String {
    text.chars()
        .map(|letter| if letter.is_control() { '·' } else { letter })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_need_few_digits() {
        let told = [20, 90, 600, 9_000, 400_000].map(|it| duration(Duration::from_secs(it)));
        assert_eq!(told, ["20 s", "90 s", "10 min", "2 h", "5 days"]);
        assert_eq!(duration(Duration::from_millis(250)), "250 ms");
    }

    #[test]
    fn names_cannot_steer_the_terminal() {
        assert_eq!(clean("Work\x1b[2J\nVPN"), "Work·[2J·VPN");
    }
}
