//! Who may come in, and under which name.

use std::sync::Arc;

use super::Gateway;
use super::clients::Seat;
use super::link::Link;
use super::mapping::{Client, is_good_child};
use super::wire::{Admission, Connect, Publish, Version, WireError, read_connect};

/// CONNACK of a version that is not spoken (MQTT 3.1.1 §3.1.2.2).
const OTHER_VERSION: [u8; 4] = [0x20, 2, 0, 1];

/// A client that was let in.
pub struct Admitted {
    pub client: Client,
    pub version: Version,
    /// In seconds; 0 for none.
    pub keep_alive: u16,
    pub will: Option<Publish>,
    pub seat: Seat,
}

/// Reads CONNECT and answers it; `None` where the client may not come in, or is gone.
pub async fn admit(link: &mut Link, gateway: &Gateway) -> Option<Admitted> {
    let first = match link.next().await {
        Ok(first) => first?,
        Err(error) => {
            gateway.rows.bad(&format_args!("a client is left before it came in: {error}"));
            return None;
        }
    };
    let connect = match read_connect(first) {
        Ok(connect) => connect,
        Err(error) => {
            gateway.rows.bad(&format_args!("a client is left: {error}"));
            if error == WireError::OtherVersion {
                let _ = link.send(&OTHER_VERSION).await;
            }
            return None;
        }
    };
    let judged = judge(&connect, gateway).await;
    let (admission, client) = match judged {
        Ok((client, assigned_id)) => (Admission::Welcome { assigned_id }, Some(client)),
        Err(refused) => {
            let id = &connect.client_id;
            gateway.rows.bad(&format_args!("client {id:?} may not come in: {}", words(&refused)));
            (refused, None)
        }
    };
    // Before it is told so: a client that comes again at once finds this one there.
    let seated = client.map(|client| (gateway.clients.enter(&client.id), client));
    link.send(&connect.version.connack(admission)).await.ok()?;
    let Connect { version, keep_alive, will, .. } = connect;
    seated.map(|(seat, client)| Admitted { client, version, keep_alive, will, seat })
}

/// The client, with its id where it left that to us.
async fn judge(connect: &Connect, gateway: &Gateway) -> Result<(Client, Option<String>), Admission> {
    let username = match (&gateway.passwords, &connect.login) {
        (None, _) => None,
        (Some(passwords), Some((name, password))) if Arc::clone(passwords).verify(name, password).await => {
            Some(name.clone())
        }
        (Some(_), _) => return Err(Admission::BadLogin),
    };
    let names_child =
        if gateway.mapping.needs_client_id() { Some(&connect.client_id) } else { username.as_ref() };
    if names_child.is_some_and(|name| !is_good_child(name)) {
        return Err(Admission::BadClientId);
    }
    if !connect.client_id.is_empty() {
        return Ok((Client { id: connect.client_id.clone(), username }, None));
    }
    let id = format!("auto-{:016x}", rand::random::<u64>());
    Ok((Client { id: id.clone(), username }, Some(id)))
}

fn words(refused: &Admission) -> &'static str {
    match refused {
        Admission::BadClientId => "its name is to be a child's, and is empty or has a slash in it",
        _ => "its name and password are not in the password file",
    }
}
