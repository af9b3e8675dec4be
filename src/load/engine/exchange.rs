//! One request and its answer, judged.

use std::cell::Cell;
use std::time::Instant;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};

use super::Shared;
use super::pool::root_cause;
use crate::load::inputs::Input;
use crate::load::outcome::{Class, Failure, Finished};
use crate::load::schedule::Arrival;
use crate::protocol::{InferResponse, Problem, routes};

/// Largest answer that is read, in bytes; an answer lists a thousand labels at most.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Sends a request and waits for its end, until the time-out at the latest.
pub(super) async fn exchange(shared: &Shared, arrival: Arrival, due: Instant) -> Finished {
    let sent = Cell::new(None);
    let end = match shared.inputs.get(arrival.task, arrival.input) {
        None => Err(Failure::new(Class::Unreadable, "the schedule names an input that there is not")),
        Some(input) => {
            let deadline = tokio::time::Instant::from_std(due + shared.settings.timeout);
            // Dropping the exchange closes its connection: so the server learns that nobody waits. What comes too late
            // to be sent at all is given up before anything is done for it.
            let in_time = tokio::time::Instant::now() < deadline;
            let answer = answer(shared, &arrival, input, &sent);
            let answer = if in_time { tokio::time::timeout_at(deadline, answer).await.ok() } else { None };
            answer.unwrap_or_else(|| {
                let text = format!("no answer within {}", crate::config::Span(shared.settings.timeout));
                Err(Failure::new(Class::TimedOut, text))
            })
        }
    };
    Finished { arrival, due, sent: sent.get(), ended: Instant::now(), end }
}

async fn answer(
    shared: &Shared,
    arrival: &Arrival,
    input: &Input,
    sent: &Cell<Option<Instant>>,
) -> Result<Box<InferResponse>, Failure> {
    let id = shared.ids.of(arrival.seq);
    let request = request(shared, input.body(&id));
    let (response, connection) = shared.pool.send(request, || sent.set(Some(Instant::now()))).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
        .collect()
        .await
        .map_err(|e| Failure::new(Class::ConnectionLost, format!("the answer broke off: {}", root_cause(&*e))))?;
    shared.pool.give(connection);
    let body = body.to_bytes();
    if !status.is_success() {
        return Err(refusal(status, &body));
    }
    let answer: Box<InferResponse> = serde_json::from_slice(&body)
        .map_err(|e| Failure::new(Class::Unreadable, format!("status {status}, but {e}")))?;
    judge(shared, arrival, input, &id, answer)
}

fn request(shared: &Shared, body: Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static(routes::INFER);
    let headers = request.headers_mut();
    headers.insert(HOST, shared.target.host.clone());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(authorization) = &shared.target.authorization {
        headers.insert(AUTHORIZATION, authorization.clone());
    }
    request
}

fn refusal(status: StatusCode, body: &[u8]) -> Failure {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => {
            Failure { class: Class::Problem(problem.code), detail: problem.detail, attempts: problem.attempts }
        }
        Err(_) => Failure::new(Class::NotAiq(status.as_u16()), format!("status {status} without problem details")),
    }
}

/// Whether the answer is the one to this request: its id, its task, and with `--check` its label.
fn judge(
    shared: &Shared,
    arrival: &Arrival,
    input: &Input,
    id: &str,
    answer: Box<InferResponse>,
) -> Result<Box<InferResponse>, Failure> {
    let got = answer.request_id.as_str();
    if got != id {
        let answered = shared.ids.seq_of(got).is_some_and(|seq| shared.answered.borrow().contains(seq));
        let class = if answered { Class::DuplicateId } else { Class::WrongId };
        return Err(Failure::new(class, format!("asked as {id}, answered as {got}")));
    }
    if shared.answered.borrow_mut().insert(arrival.seq) {
        return Err(Failure::new(Class::DuplicateId, format!("{id} was answered before")));
    }
    if answer.result.task_type != arrival.task {
        let text = format!("{id} asked for {}, answered with {}", arrival.task, answer.result.task_type);
        return Err(Failure::new(Class::WrongTask, text));
    }
    if shared.settings.check && !input.expected.allows(&answer) {
        let text =
            format!("{} to \"{}\", confidence {:.3}", answer.result.prediction, input.label, answer.result.confidence);
        return Err(Failure::new(Class::WrongAnswer, text));
    }
    Ok(answer)
}
