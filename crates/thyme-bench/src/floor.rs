//! A server that does nothing: what HTTP alone costs on this machine.

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::serve::ListenerExt;
use serde_json::json;

use crate::Failure;
use crate::arguments::Arguments;

/// Answers every request with the bytes of `--body`, until it is killed.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let body = axum::body::Bytes::from(std::fs::read(arguments.text("body")?)?);
    let answer = move || {
        let body = body.clone();
        async move { ([(CONTENT_TYPE, "application/json")], body) }
    };
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", json!({"addr": listener.local_addr()?.to_string()}));
        let listener = listener.tap_io(|stream| {
            // As the real server does.
            let _ = stream.set_nodelay(true);
        });
        axum::serve(listener, Router::new().fallback(answer)).await?;
        Ok(())
    })
}
