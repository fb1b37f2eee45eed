//! An MQTT 3.1.1 client that says just what it is told to.

use std::io::{Error, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const ANSWER_WITHIN: Duration = Duration::from_secs(30);

pub struct Client {
    stream: TcpStream,
    last_id: u16,
}

impl Client {
    /// Says who it is and is let in (MQTT 3.1.1, 3.1 and 3.2), with a clean session.
    ///
    /// # Errors
    /// Nobody listens, or it is not let in.
    pub fn connect(address: SocketAddr, id: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        let mut client = Self { stream, last_id: 0 };
        let head = [0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60];
        client.say(0x10, &[&head[..], &text(id)].concat())?;
        client.hear([0x20, 2, 0, 0])?;
        Ok(client)
    }

    /// As the other side sees it.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn address(&self) -> Result<SocketAddr> {
        self.stream.local_addr()
    }

    /// Publishes at QoS 1 and returns when it is acknowledged (3.3 and 3.4).
    ///
    /// # Errors
    /// It may have been taken, and may not.
    pub fn publish(&mut self, topic: &str, payload: &str) -> Result<()> {
        self.last_id = self.last_id % u16::MAX + 1;
        let id = self.last_id.to_be_bytes();
        self.say(0x32, &[&text(topic)[..], &id, payload.as_bytes()].concat())?;
        self.hear([0x40, 2, id[0], id[1]])
    }

    /// Short packets only: the length is one byte.
    fn say(&mut self, first: u8, body: &[u8]) -> Result<()> {
        let length = u8::try_from(body.len()).ok().filter(|length| *length < 128);
        let length = length.ok_or_else(|| Error::other("too long for this client"))?;
        self.stream.write_all(&[&[first, length], body].concat())
    }

    fn hear(&mut self, expected: [u8; 4]) -> Result<()> {
        let mut answer = [0; 4];
        self.stream.read_exact(&mut answer)?;
        if answer == expected { Ok(()) } else { Err(Error::other(format!("answered {answer:?}"))) }
    }
}

fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], text.as_bytes()].concat()
}
