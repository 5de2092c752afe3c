//! Bugs of the node's front: linearizable reads are forged into stale ones as they come in, or what
//! a leader asks the others before it answers one is answered without asking them.

use std::sync::Arc;

use aspen_core::NodeId;
use aspen_core::api::{ClientBody, Consistency};
use aspen_core::codec::{self, Request, Response};
use aspen_core::transport::{Handler, Lane, Transport, TransportError};
use aspen_transport_sim::SimRuntime;
use aspen_transport_sim::network::SimTransport;
use bytes::Bytes;

use super::Mutant;

/// A transport with at most one bug.
#[derive(Clone)]
pub(crate) struct MutantTransport {
    inner: SimTransport,
    mutant: Option<Mutant>,
}

impl MutantTransport {
    pub(crate) fn new(inner: SimTransport, mutant: Option<Mutant>) -> Self {
        Self { inner, mutant }
    }
}

impl Transport for MutantTransport {
    type Sender = <SimTransport as Transport>::Sender;
    type Receiver = <SimTransport as Transport>::Receiver;

    fn learn(&self, node: NodeId, address: &str) {
        self.inner.learn(node, address);
    }

    async fn call(&self, to: NodeId, lane: Lane, request: Bytes) -> Result<Bytes, TransportError> {
        if self.mutant == Some(Mutant::ConfirmAlone) && asks_to_confirm(&request) {
            let answer = codec::encode(&Response::<SimRuntime>::Confirmed(true));
            return Ok(answer.expect("an answer of a few bytes"));
        }
        self.inner.call(to, lane, request).await
    }

    fn open(
        &self,
        to: NodeId,
        lane: Lane,
    ) -> impl Future<Output = Result<(Self::Sender, Self::Receiver), TransportError>> + Send {
        self.inner.open(to, lane)
    }

    async fn serve<H: Handler<Self>>(&self, handler: Arc<H>) {
        let forge = self.mutant == Some(Mutant::SkipReadIndex);
        self.inner.serve(Arc::new(Forging { handler, forge })).await;
    }
}

struct Forging<H> {
    handler: Arc<H>,
    forge: bool,
}

impl<H: Handler<MutantTransport>> Handler<SimTransport> for Forging<H> {
    fn call(
        &self,
        lane: Lane,
        request: Bytes,
    ) -> impl Future<Output = Result<Bytes, TransportError>> + Send {
        let forged = if self.forge { forge(&request) } else { None };
        self.handler.call(lane, forged.unwrap_or(request))
    }

    fn stream(
        &self,
        lane: Lane,
        sender: <SimTransport as Transport>::Sender,
        receiver: <SimTransport as Transport>::Receiver,
    ) -> impl Future<Output = ()> + Send {
        self.handler.stream(lane, sender, receiver)
    }
}

fn asks_to_confirm(request: &[u8]) -> bool {
    matches!(codec::decode::<Request<SimRuntime>>(request), Ok(Request::Confirm { .. }))
}

fn forge(request: &[u8]) -> Option<Bytes> {
    let Ok(Request::Client(mut client)) = codec::decode::<Request<SimRuntime>>(request) else {
        return None;
    };
    match &mut client.body {
        ClientBody::Get { consistency, .. } | ClientBody::Scan { consistency, .. } => {
            *consistency = Consistency::Stale;
        }
        ClientBody::Write { .. } => return None,
    }
    codec::encode(&Request::<SimRuntime>::Client(client)).ok()
}
