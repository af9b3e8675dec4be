//! The bare server: JSON in, JSON out, nothing between. What stands behind the proxy, and the floor.

use axum::routing::{get, post};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Request {
    #[serde(default)]
    request_id: String,
    #[serde(rename = "data")]
    _data: String,
}

async fn infer(Json(request): Json<Request>) -> Json<Value> {
    Json(json!({"request_id": request.request_id, "result": "ok"}))
}

/// Serves on one thread, to the end of the process.
pub(crate) fn run(port: u16) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
        let app = Router::new().route("/infer", post(infer)).route("/health", get(async || "ok"));
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        axum::serve(listener, app).await.expect("it serves");
    });
}
