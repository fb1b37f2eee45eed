//! CBOR (RFC 8949): the only module that names `serde_cbor`.
