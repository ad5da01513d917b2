//! Times as people write them: `2026-11-27 14:00`, `yesterday`, `2 hours ago`, 昨日, 2時間前.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan as _, Zoned};
use warifu::Timestamp;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{local_time, shown_text};
use crate::words::say;

/// Reads a time from the command line.
pub fn parse(text: &str) -> Result<Timestamp, Failure> {
    at(text, &Zoned::now()).ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            say!("bad-time", text = shown_text(text)),
            say!("bad-time-next"),
        )
    })
}

/// As [`parse`], where a time may be missing.
pub fn parse_some(text: Option<&String>) -> Result<Option<Timestamp>, Failure> {
    text.map(|text| parse(text)).transpose()
}

/// As [`parse_some`], of a time at which the vault is looked at: what is still to come has not been anything yet.
pub fn past(text: Option<&String>) -> Result<Option<Timestamp>, Failure> {
    let Some(text) = text else { return Ok(None) };
    let at = parse(text)?;
    if at > stamp(jiff::Timestamp::now()) {
        return Err(Failure::new(
            Exit::Usage,
            say!(
                "time-to-come",
                text = shown_text(text),
                time = local_time(at)
            ),
            say!("time-to-come-next"),
        ));
    }
    Ok(Some(at))
}

fn at(text: &str, now: &Zoned) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(found) = text.parse::<jiff::Timestamp>() {
        return Some(stamp(found));
    }
    let zoned = match text {
        "now" | "今" => now.clone(),
        "today" | "今日" => now.start_of_day().ok()?,
        "yesterday" | "昨日" => now.checked_sub(1.day()).ok()?,
        _ => day_and_clock(text, now).or_else(|| ago(text, now))?,
    };
    Some(stamp(zoned.timestamp()))
}

fn stamp(at: jiff::Timestamp) -> Timestamp {
    // Nanoseconds are never negative here but before 1970, when nothing was saved.
    Timestamp {
        secs: at.as_second(),
        nanos: u32::try_from(at.subsec_nanosecond()).unwrap_or(0),
    }
}

/// A date, a time of day, or both.
fn day_and_clock(text: &str, now: &Zoned) -> Option<Zoned> {
    let zone: TimeZone = now.time_zone().clone();
    if let Ok(both) = text.parse::<DateTime>() {
        return both.to_zoned(zone).ok();
    }
    if let Ok(day) = text.parse::<Date>() {
        return day.to_zoned(zone).ok();
    }
    let (day, clock) = match text.split_once(char::is_whitespace) {
        Some(("yesterday" | "昨日", clock)) => (now.date().yesterday().ok()?, clock),
        Some(("today" | "今日", clock)) => (now.date(), clock),
        Some(_) => return None,
        None => (now.date(), text),
    };
    let clock = clock.trim();
    let colon = clock.contains(':');
    let clock: Time = colon.then(|| clock.parse().ok()).flatten()?;
    day.to_datetime(clock).to_zoned(zone).ok()
}

/// `2 hours ago`, `3日前`.
fn ago(text: &str, now: &Zoned) -> Option<Zoned> {
    let text = text
        .strip_suffix("ago")
        .or_else(|| text.strip_suffix('前'))?
        .trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(0);
    let (count, unit) = text.split_at_checked(digits)?;
    let unit = unit.trim();
    let count: i64 = match count {
        // "an hour ago"
        "" => 1,
        count => count.parse().ok()?,
    };
    let unit = match count {
        1 => unit
            .strip_prefix("a ")
            .or_else(|| unit.strip_prefix("an "))
            .unwrap_or(unit),
        _ => unit,
    };
    let span = Span::new();
    let span = match unit {
        "s" | "sec" | "secs" | "second" | "seconds" | "秒" => span.try_seconds(count),
        "m" | "min" | "mins" | "minute" | "minutes" | "分" => span.try_minutes(count),
        "h" | "hour" | "hours" | "時間" => span.try_hours(count),
        "d" | "day" | "days" | "日" => span.try_days(count),
        "w" | "week" | "weeks" | "週間" => span.try_weeks(count),
        "month" | "months" | "か月" | "ヶ月" => span.try_months(count),
        "y" | "year" | "years" | "年" => span.try_years(count),
        _ => return None,
    };
    now.checked_sub(span.ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let now: Zoned = "2026-11-28T20:30:00+09:00[+09:00]".parse().unwrap();
        for (text, expected) in [
            ("2026-11-27 14:00", "2026-11-27T14:00:00+09:00"),
            ("2026-11-27T14:00:07", "2026-11-27T14:00:07+09:00"),
            ("2026-11-27T14:00:07Z", "2026-11-27T14:00:07Z"),
            ("2026-11-27T14:00:07.5Z", "2026-11-27T14:00:07.5Z"),
            ("2026-11-27", "2026-11-27T00:00:00+09:00"),
            ("14:05", "2026-11-28T14:05:00+09:00"),
            ("now", "2026-11-28T20:30:00+09:00"),
            ("today", "2026-11-28T00:00:00+09:00"),
            ("yesterday", "2026-11-27T20:30:00+09:00"),
            ("昨日", "2026-11-27T20:30:00+09:00"),
            ("yesterday 09:00", "2026-11-27T09:00:00+09:00"),
            ("今日 09:00", "2026-11-28T09:00:00+09:00"),
            ("2 hours ago", "2026-11-28T18:30:00+09:00"),
            ("an hour ago", "2026-11-28T19:30:00+09:00"),
            ("90min ago", "2026-11-28T19:00:00+09:00"),
            ("2時間前", "2026-11-28T18:30:00+09:00"),
            ("3日前", "2026-11-25T20:30:00+09:00"),
            ("1 week ago", "2026-11-21T20:30:00+09:00"),
            ("2 months ago", "2026-09-28T20:30:00+09:00"),
        ] {
            let expected: jiff::Timestamp = expected.parse().unwrap();
            assert_eq!(at(text, &now), Some(stamp(expected)), "{text}");
        }
        for bad in [
            "",
            "soon",
            "ago",
            "hours",
            "-2 hours ago",
            "2 fortnights ago",
            "25:00",
            "2026-13-01",
            "99999999999999999999 days ago",
            "tomorrow",
        ] {
            assert_eq!(at(bad, &now), None, "{bad}");
        }
    }
}
