//! A QUIC client of noq alone, which does with the paths of a connection what iroh's never does.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use noq::crypto::rustls::QuicClientConfig;
use noq::{ClientConfig, Connection, Endpoint, PathId, PathStatus, TransportConfig};
use rustls::client::AlwaysResolvesClientRawPublicKeys;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use tokio::time::{sleep, timeout};

/// What a key of Ed25519 begins with in PKCS #8 (RFC 8410); 32 bytes of the key follow.
const PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
/// Nobody is there: the port of RFC 863, on an address of loopback that nothing binds.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)), 9);
const PATHS_MAX: u32 = 16;

/// Takes everybody for whom it looks.
#[derive(Debug)]
struct Credulous(Arc<CryptoProvider>);

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("QUIC has TLS 1.3".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

fn config(protocol: &[u8]) -> ClientConfig {
    let provider = Arc::new(ring::default_provider());
    let key = [PKCS8.as_slice(), &[7; 32]].concat();
    let key = provider.key_provider.load_private_key(PrivateKeyDer::Pkcs8(key.into())).unwrap();
    let public = CertificateDer::from(key.public_key().unwrap().to_vec());
    let key = CertifiedKey::new(vec![public], key);
    let tls = rustls::ClientConfig::builder_with_provider(provider.clone());
    let mut tls = tls
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous(provider)))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::new(key))));
    tls.alpn_protocols = vec![protocol.to_vec()];
    let mut transport = TransportConfig::default();
    transport.max_concurrent_multipath_paths(PATHS_MAX);
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    config.transport_config(Arc::new(transport));
    config
}

/// Connects, opens a path that the node will never hear of, and gives up the one that it knows:
/// the node is left with a connection without a path. Returns when that has ended.
pub(crate) async fn abandon_all_paths(to: SocketAddr, protocol: &[u8], patience: Duration) {
    let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let connecting = endpoint.connect_with(config(protocol), to, "node.invalid").unwrap();
    let connection: Connection = timeout(patience, connecting).await.unwrap().unwrap();
    let opening = async {
        // Until the node has given out what names a second path.
        while connection.open_path(NOWHERE, PathStatus::Available).path_id().is_none() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(patience, opening).await.unwrap();
    connection.path(PathId::ZERO).unwrap().close().unwrap();
    timeout(patience, connection.closed()).await.unwrap();
}
