//! Around every call: a panic becomes INTERNAL, the outcome is counted, and a stream ends when its caller is no longer
//! let in.
//!
//! Inputs: calls of any protocol. Outputs: the same, or an error with an id. What it does not do: let callers in;
//! [`super::connection`] asked before the body was read.

use super::access::{Admitted, Refusal};
use super::calls::{CallMetrics, Observed};
use super::status;
use connectrpc::interceptor::{PayloadStream, StreamRequest, StreamResponse, UnaryRequest, UnaryResponse};
use connectrpc::{ConnectError, Interceptor, Next, NextStream, Payload, RequestContext, async_trait};
use futures::{FutureExt as _, StreamExt as _, stream};
use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// The interceptor of every route, health and reflection included.
#[derive(Debug)]
pub(super) struct Guard(pub(super) Arc<CallMetrics>);

#[async_trait]
impl Interceptor for Guard {
    async fn intercept_unary(&self, request: UnaryRequest, next: Next<'_>) -> Result<UnaryResponse, ConnectError> {
        let method = method(&request.ctx);
        let mut observed = self.0.call(method, request.ctx.headers());
        // Nothing that a panic may leave half-done outlives the call: handlers share only the node's handle.
        let result = AssertUnwindSafe(next.run(request)).catch_unwind().await;
        let result = result.unwrap_or_else(|panic| Err(panicked(method, &*panic)));
        observed.ended(code(result.as_ref().err()));
        result
    }

    async fn intercept_streaming(
        &self,
        request: StreamRequest,
        inbound: PayloadStream,
        next: NextStream<'_>,
    ) -> Result<StreamResponse, ConnectError> {
        let method = method(&request.ctx);
        let mut observed = self.0.stream(method, request.ctx.headers());
        let admitted = request.ctx.extensions().get::<Admitted>().cloned();
        let result = AssertUnwindSafe(next.run(request, inbound)).catch_unwind().await;
        let result = result.unwrap_or_else(|panic| Err(panicked(method, &*panic)));
        match result {
            Ok(response) => Ok(response.map_body(|body| watched(while_admitted(body, admitted), method, observed))),
            Err(error) => {
                observed.ended(code(Some(&error)));
                Err(error)
            }
        }
    }
}

/// Ends a stream when what let its caller in is withdrawn.
fn while_admitted(body: PayloadStream, admitted: Option<Admitted>) -> PayloadStream {
    let Some(Admitted(admission)) = admitted else { return body };
    Box::pin(stream::unfold(Some(body), move |body| {
        let admission = admission.clone();
        async move {
            let mut body = body?;
            tokio::select! {
                biased;
                () = admission.cancelled() => Some((Err(Refusal::Withdrawn.into_status()), None)),
                item = body.next() => item.map(|item| (item, Some(body))),
            }
        }
    }))
}

fn watched(body: PayloadStream, method: &'static str, mut observed: Observed) -> PayloadStream {
    let items = AssertUnwindSafe(body).catch_unwind();
    let items = items.map(move |item| item.unwrap_or_else(|panic| Err(panicked(method, &*panic))));
    let end = stream::once(std::future::ready(None));
    Box::pin(items.map(Some).chain(end).filter_map(move |item: Option<Result<Payload, ConnectError>>| {
        match &item {
            Some(Ok(_)) => {}
            Some(Err(error)) => observed.ended(code(Some(error))),
            None => observed.ended(code(None)),
        }
        std::future::ready(item)
    }))
}

/// The method as the service declares it: never text of the caller.
fn method(ctx: &RequestContext) -> &'static str {
    ctx.spec().map_or("unknown", |spec| spec.procedure)
}

fn code(error: Option<&ConnectError>) -> &'static str {
    error.map_or("ok", |error| error.code.as_str())
}

fn panicked(method: &str, panic: &(dyn Any + Send)) -> ConnectError {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    status::internal(&format!("{method} panicked: {}", text.unwrap_or("no text")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use connectrpc::interceptor::{run_chain, run_chain_streaming};
    use connectrpc::{CodecFormat, ErrorCode};

    fn chain() -> Vec<Arc<dyn Interceptor>> {
        vec![Arc::new(Guard(Arc::default()))]
    }

    #[tokio::test]
    async fn a_panicking_call_is_an_internal_error_with_an_id() {
        let request = UnaryRequest::new(RequestContext::default(), Default::default(), CodecFormat::Proto);
        let error = run_chain(&chain(), request, |_| async { panic!("boom") }).await.err().unwrap();
        assert_eq!(error.code, ErrorCode::Internal);
        assert!(!error.message.unwrap().contains("boom"));
    }

    #[tokio::test]
    async fn a_panic_within_a_stream_ends_it_with_an_internal_error() {
        let request = StreamRequest::new(RequestContext::default());
        let inbound: PayloadStream = Box::pin(stream::empty());
        let chain = chain();
        let response = run_chain_streaming(&chain, request, inbound, |_, _| async {
            let body: PayloadStream = Box::pin(stream::poll_fn(|_| panic!("boom")));
            Ok(connectrpc::Response::new(body))
        });
        let items: Vec<_> = response.await.ok().unwrap().body.collect().await;
        assert_eq!(items.len(), 1);
        assert_eq!(items[0].as_ref().err().unwrap().code, ErrorCode::Internal);
    }

    #[tokio::test]
    async fn a_stream_ends_with_unauthenticated_when_its_caller_is_no_longer_let_in() {
        let admission = tokio_util::sync::CancellationToken::new();
        let mut context = RequestContext::default();
        context.extensions_mut().insert(Admitted(admission.clone()));
        let inbound: PayloadStream = Box::pin(stream::empty());
        let chain = chain();
        let response = run_chain_streaming(&chain, StreamRequest::new(context), inbound, |_, _| async {
            let body: PayloadStream = Box::pin(stream::pending());
            Ok(connectrpc::Response::new(body))
        });
        let mut body = response.await.ok().unwrap().body;
        assert!(body.next().now_or_never().is_none());
        admission.cancel();
        assert_eq!(body.next().await.unwrap().err().unwrap().code, ErrorCode::Unauthenticated);
        assert!(body.next().await.is_none());
    }
}
