//! What JetStream says, as it is meant for us.

use serde::Deserialize;
use ship::Answer;

/// An acknowledgement, or an error in its place.
#[derive(Debug, Deserialize)]
struct Acknowledgement {
    seq: Option<u64>,
    error: Option<Problem>,
}

#[derive(Debug, Deserialize)]
struct Problem {
    #[serde(default)]
    err_code: u32,
    #[serde(default)]
    description: String,
}

/// What a stream answered to a message.
pub(super) fn judge(subject: &str, payload: &[u8]) -> Answer {
    match serde_json::from_slice(payload) {
        Ok(Acknowledgement {
            error: Some(problem),
            ..
        }) => judge_problem(subject, &problem),
        Ok(Acknowledgement { seq: Some(_), .. }) => Answer::Accepted,
        Ok(_) | Err(_) => Answer::Misconfigured {
            reason: format!(
                "what listens to the subject {subject} does not acknowledge as a stream does: let \
                 only a stream answer there"
            ),
        },
    }
}

/// By the codes of the server's `errors.json`. What is not known is tried again, so that nothing
/// is given up for a reason that passes.
fn judge_problem(subject: &str, problem: &Problem) -> Answer {
    let reason = format!("{} ({})", problem.description, problem.err_code);
    match problem.err_code {
        10_054 => Answer::TooLarge {
            reason: format!("{reason}: the stream's max_msg_size"),
        },
        10_060 => Answer::Misconfigured {
            reason: format!(
                "{reason}: another stream than jetstream.stream takes the subject {subject}; \
                 change one of both"
            ),
        },
        10_039 | 10_076 => Answer::Misconfigured {
            reason: format!("{reason}: enable JetStream in the server and the account"),
        },
        10_109 => Answer::Misconfigured {
            reason: format!("{reason}: the stream takes nothing any more; make another"),
        },
        10_002 | 10_023 | 10_047 | 10_077 => Answer::Again {
            after: None,
            reason: format!(
                "{reason}: the stream is full; let its consumers catch up, or give it more room"
            ),
        },
        _ => Answer::Again {
            after: None,
            reason,
        },
    }
}

#[derive(Debug, Deserialize)]
struct Lookup {
    streams: Option<Vec<String>>,
    error: Option<Problem>,
}

/// What the server said to the question which streams have a subject to which nobody listens.
pub(super) fn judge_lookup(subject: &str, payload: &[u8]) -> Answer {
    let lookup = serde_json::from_slice::<Lookup>(payload);
    let Ok(Lookup {
        streams,
        error: None,
    }) = lookup
    else {
        return Answer::Again {
            after: None,
            reason: format!("nobody listens to the subject {subject} just now"),
        };
    };
    match streams.unwrap_or_default().first() {
        Some(stream) => Answer::Again {
            after: None,
            reason: format!("the stream {stream} has no leader just now"),
        },
        None => Answer::Misconfigured {
            reason: format!(
                "no stream listens to the subject {subject}: {}",
                how_to_create(subject)
            ),
        },
    }
}

/// The command that makes a stream for a subject and its like.
pub(super) fn how_to_create(subject: &str) -> String {
    let root = subject.rsplitn(3, '.').last().unwrap_or(subject);
    format!(
        "`nats stream add CONNTRAIL --subjects '{root}.>' --storage file --replicas 3 \
         --retention limits --discard new --dupe-window 2h --defaults` makes one"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_is_accepted_also_when_the_message_was_there() {
        for json in [
            r#"{"stream":"S","seq":7}"#,
            r#"{"stream":"S","seq":7,"duplicate":true}"#,
        ] {
            assert_eq!(judge("a.b.1", json.as_bytes()), Answer::Accepted);
        }
    }

    fn words(answer: &Answer) -> (&'static str, &str) {
        match answer {
            Answer::Again { reason, .. } => ("again", reason),
            Answer::Misconfigured { reason } => ("misconfigured", reason),
            Answer::TooLarge { reason } => ("too large", reason),
            Answer::Accepted
            | Answer::Refused { .. }
            | Answer::RefusedItems(_)
            | Answer::RefusedSome { .. }
            | Answer::Unknown { .. } => panic!("{answer:?}"),
        }
    }

    #[test]
    fn errors_are_told_apart_by_what_is_to_be_done() {
        for (code, expected, hint) in [
            (10_077, "again", "more room"),
            (10_047, "again", "more room"),
            (10_060, "misconfigured", "jetstream.stream"),
            (10_076, "misconfigured", "enable JetStream"),
            (10_054, "too large", "max_msg_size"),
            (10_008, "again", "in the server's words"),
        ] {
            let json = format!(
                "{{\"error\":{{\"err_code\":{code},\"description\":\"in the server's words\"}}}}"
            );
            let answer = judge("a.b.1", json.as_bytes());
            let (kind, reason) = words(&answer);
            assert_eq!(kind, expected);
            assert!(
                reason.contains(hint) && reason.contains("server's words"),
                "{reason}"
            );
        }
    }

    #[test]
    fn what_is_no_stream_is_not_taken_for_one() {
        for payload in ["", "ok", "{}", "[]"] {
            assert_eq!(
                words(&judge("a.b.1", payload.as_bytes())).0,
                "misconfigured"
            );
        }
    }

    #[test]
    fn a_subject_without_a_stream_and_a_stream_without_a_leader_are_told_apart() {
        let answer = judge_lookup(
            "a.b.1",
            br#"{"total":0,"offset":0,"limit":1024,"streams":null}"#,
        );
        let (kind, reason) = words(&answer);
        assert_eq!(kind, "misconfigured");
        assert!(
            reason.contains("nats stream add") && reason.contains("'a.>'"),
            "{reason}"
        );
        let answer = judge_lookup("a.b.1", br#"{"total":1,"streams":["TRAILS"]}"#);
        assert_eq!(
            words(&answer),
            ("again", "the stream TRAILS has no leader just now")
        );
    }
}
