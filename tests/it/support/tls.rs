//! TLS before a server that speaks none: what comes in is handed on in plain text.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::server::Server;

/// An authority that nobody knows, and servers for `127.0.0.1` that it vouches for.
pub(crate) struct Tls {
    authority: CertifiedIssuer<'static, KeyPair>,
    running: Vec<Server>,
}

impl Tls {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Named like its servers, these would look as if they had vouched for themselves.
        params.distinguished_name.push(DnType::CommonName, "an authority of the tests");
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        Self { authority, running: Vec::new() }
    }

    /// The authority's certificate, as a file holds it.
    pub(crate) fn certificate(&self) -> String {
        self.authority.pem()
    }

    /// What speaks TLS for servers of these names.
    pub(crate) fn acceptor(&self, names: &[&str]) -> TlsAcceptor {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).expect("parameters");
        let certificate = params.signed_by(&key, &self.authority).expect("a certificate");
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        let config = builder
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
            .expect("a configuration");
        TlsAcceptor::from(Arc::new(config))
    }

    /// Starts a server before the one on a port of 127.0.0.1; gives its own port.
    pub(crate) fn before(&mut self, port: u16) -> u16 {
        let acceptor = self.acceptor(&["127.0.0.1"]);
        let (server, own) = Server::start(async move || {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let own = listener.local_addr().expect("its address").port();
            tokio::spawn(serve(listener, acceptor, SocketAddr::from(([127, 0, 0, 1], port))));
            own
        });
        self.running.push(server);
        own
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, to: SocketAddr) {
    while let Ok((stream, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            // Who does not trust the certificate goes away.
            let Ok(mut secure) = acceptor.accept(stream).await else { return };
            let Ok(mut plain) = TcpStream::connect(to).await else { return };
            let _ended = copy_bidirectional(&mut secure, &mut plain).await;
        });
    }
}
