//! Spans of time as people type and read them.

use std::time::Duration;

/// Reads `500ms`, `30s`, `5m` or `1h`.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let wrong = || format!("`{text}` is not a span of time; write 500ms, 30s, 5m or 1h");
    let count: u64 = digits.parse().map_err(|_| wrong())?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    count
        .checked_mul(unit_ms)
        .map(Duration::from_millis)
        .ok_or_else(wrong)
}

/// Writes a span the way the tables show it: `0.4 s`, `2 min 05 s`.
pub(crate) fn show(span: Duration) -> String {
    let seconds = span.as_secs();
    if seconds < 60 {
        return format!("{:.1} s", span.as_secs_f64());
    }
    format!("{} min {:02} s", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_type() {
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(parse("1h"), Ok(Duration::from_secs(3600)));
    }

    #[test]
    fn refuses_the_rest_and_says_what_to_write() {
        for text in ["", "s", "30", "3d", "-1s", "18446744073709551615h"] {
            let error = parse(text).unwrap_err();
            assert!(error.contains("30s"), "{error}");
        }
    }

    #[test]
    fn shows_short_and_long_spans() {
        assert_eq!(show(Duration::from_millis(440)), "0.4 s");
        assert_eq!(show(Duration::from_secs(125)), "2 min 05 s");
    }
}
