//! Publishers at QoS 1 with a window: the same load for every broker.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What is published.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub connections: usize,
    /// Publishes without an acknowledgement, for each connection.
    pub window: u16,
    pub payload_bytes: usize,
    pub time: Duration,
}

const READ_BYTES: usize = 64 << 10;
const PUBACK_BYTES: usize = 4;
const CONNACK_BYTES: usize = 4;

/// Runs the load; answers acknowledged publishes a second.
pub fn run(broker: SocketAddr, load: Load) -> Result<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, all(broker, load))
}

async fn all(broker: SocketAddr, load: Load) -> Result<f64> {
    let acknowledged = Rc::new(Cell::new(0u64));
    let stop = Rc::new(Cell::new(false));
    let mut publishers = Vec::new();
    for number in 0..load.connections {
        let stream =
            connect(broker, number).await.with_context(|| format!("connection {number} to {broker}"))?;
        let task = publish(stream, number, load, Rc::clone(&acknowledged), Rc::clone(&stop));
        publishers.push(tokio::task::spawn_local(task));
    }
    // The first tenth warms up and does not count.
    tokio::time::sleep(load.time / 10).await;
    let (start, before) = (Instant::now(), acknowledged.get());
    tokio::time::sleep(load.time).await;
    let rate = (acknowledged.get() - before) as f64 / start.elapsed().as_secs_f64();
    stop.set(true);
    for publisher in publishers {
        publisher.await??;
    }
    Ok(rate)
}

async fn connect(broker: SocketAddr, number: usize) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(broker).await?;
    stream.set_nodelay(true)?;
    let id = format!("load-{number}");
    let mut packet = vec![0x10, (12 + id.len()) as u8, 0, 4];
    packet.extend_from_slice(b"MQTT\x04\x02\x00\x00");
    packet.extend_from_slice(&(id.len() as u16).to_be_bytes());
    packet.extend_from_slice(id.as_bytes());
    stream.write_all(&packet).await?;
    let mut answer = [0; CONNACK_BYTES];
    stream.read_exact(&mut answer).await?;
    ensure!(answer[0] == 0x20 && answer[3] == 0, "refused: {answer:?}");
    Ok(stream)
}

/// Publishes as fast as acknowledgements let it. All packets are alike but for their id, so that making them
/// costs next to nothing.
async fn publish(
    mut stream: TcpStream,
    number: usize,
    load: Load,
    acknowledged: Rc<Cell<u64>>,
    stop: Rc<Cell<bool>>,
) -> Result<()> {
    let (packet, id_at) = packet(number, load.payload_bytes);
    let mut next_id: u16 = 0;
    let mut outgoing = Vec::new();
    let mut incoming = vec![0; READ_BYTES];
    let mut rest = 0;
    let mut free = usize::from(load.window);
    while !stop.get() {
        outgoing.clear();
        for _ in 0..free {
            next_id = next_id % load.window.max(1) + 1;
            let at = outgoing.len();
            outgoing.extend_from_slice(&packet);
            outgoing[at + id_at..at + id_at + 2].copy_from_slice(&next_id.to_be_bytes());
        }
        stream.write_all(&outgoing).await?;
        let read = stream.read(&mut incoming).await?;
        ensure!(read > 0, "the broker closed the connection");
        free = (rest + read) / PUBACK_BYTES;
        rest = (rest + read) % PUBACK_BYTES;
        acknowledged.set(acknowledged.get() + free as u64);
    }
    Ok(())
}

/// A QoS 1 publish, and where its packet id stands.
fn packet(number: usize, payload_bytes: usize) -> (Vec<u8>, usize) {
    let topic = format!("bench/{number:04}");
    let mut left = 2 + topic.len() + 2 + payload_bytes;
    let mut packet = vec![0x32];
    loop {
        let byte = (left % 128) as u8;
        left /= 128;
        packet.push(if left > 0 { byte | 0x80 } else { byte });
        if left == 0 {
            break;
        }
    }
    packet.extend_from_slice(&(topic.len() as u16).to_be_bytes());
    packet.extend_from_slice(topic.as_bytes());
    let id_at = packet.len();
    packet.extend_from_slice(&[0, 0]);
    packet.extend(std::iter::repeat_n(b'x', payload_bytes));
    (packet, id_at)
}
