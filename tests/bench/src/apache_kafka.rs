//! Apache Kafka as Maven Central has it: its jars, brokers with default settings, and its own load tool.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use testkit::process::Process;
use testkit::{ports, wait};

const STARTED_WITHIN: Duration = Duration::from_secs(60);
const HEAP: &str = "-Xmx1g";

/// The jars, fetched once into the build folder.
pub struct Jars {
    folder: PathBuf,
}

impl Jars {
    pub fn fetched() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = root.join("../../target/apache-kafka");
        if !folder.join("kafka-tools-4.1.0.jar").exists() {
            println!("fetching Apache Kafka 4.1.0 from Maven Central …");
            let status = Command::new("mvn")
                .args(["-q", "-B", "dependency:copy-dependencies", "-f"])
                .arg(root.join("kafka-pom.xml"))
                .arg(format!("-DoutputDirectory={}", folder.display()))
                .status()
                .context("mvn is needed to fetch Apache Kafka")?;
            ensure!(status.success(), "mvn failed");
        }
        Ok(Self { folder })
    }

    /// `java` with Kafka's classes.
    pub fn java(&self, class: &str) -> Command {
        let mut command = Command::new("java");
        command.arg(HEAP).arg("-cp").arg(format!("{}/*", self.folder.display())).arg(class);
        command
    }

    /// Kafka's producer-performance against some brokers: records a second.
    pub fn produce(&self, brokers: &str, topic: &str, records: u64, bytes: u32) -> Result<f64> {
        let output = self
            .java("org.apache.kafka.tools.ProducerPerformance")
            .args(["--topic", topic, "--throughput", "-1"])
            .args(["--num-records", &records.to_string(), "--record-size", &bytes.to_string()])
            .args(["--producer-props", &format!("bootstrap.servers={brokers}"), "acks=all"])
            .output()
            .context("java")?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        // The last line sums up: "N records sent, R records/sec (M MB/sec), …".
        let last = printed.lines().rfind(|line| line.contains("records/sec"));
        let rate =
            last.and_then(|line| line.split(", ").nth(1)?.split(' ').next()?.replace(',', ".").parse().ok());
        match rate {
            Some(rate) if output.status.success() => Ok(rate),
            _ => bail!("producer-performance: {printed}{}", String::from_utf8_lossy(&output.stderr)),
        }
    }
}

/// Brokers in KRaft mode, each a controller too.
pub struct Brokers {
    addresses: Vec<SocketAddr>,
    _processes: Vec<Process>,
}

impl Brokers {
    pub fn start(jars: &Jars, folder: &Path, count: usize) -> Result<Self> {
        let listeners: Vec<_> = (0..count).map(|_| (ports::free(), ports::free())).collect();
        let voters: Vec<String> =
            (1..).zip(&listeners).map(|(id, (_, controller))| format!("{id}@{controller}")).collect();
        let mut processes = Vec::new();
        for (id, (address, controller)) in (1..).zip(&listeners) {
            let home = folder.join(format!("kafka-{id}"));
            std::fs::create_dir_all(&home)?;
            let config = home.join("kafka.properties");
            std::fs::write(
                &config,
                format!(
                    "process.roles=broker,controller\nnode.id={id}\ncontroller.quorum.voters={}\n\
                     listeners=PLAINTEXT://{address},CONTROLLER://{controller}\n\
                     advertised.listeners=PLAINTEXT://{address}\ncontroller.listener.names=CONTROLLER\n\
                     log.dirs={}\noffsets.topic.replication.factor={count}\n",
                    voters.join(","),
                    home.join("data").display()
                ),
            )?;
            processes.push(start_one(jars, &home, &config)?);
        }
        let brokers =
            Self { addresses: listeners.into_iter().map(|it| it.0).collect(), _processes: processes };
        for address in &brokers.addresses {
            wait::until("Apache Kafka", STARTED_WITHIN, || TcpStream::connect(address).ok());
        }
        Ok(brokers)
    }

    pub fn addresses(&self) -> String {
        let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        addresses.join(",")
    }

    /// Creates a topic with a replica on every broker.
    pub fn create(&self, jars: &Jars, topic: &str, partitions: &str) -> Result<()> {
        let output = jars
            .java("org.apache.kafka.tools.TopicCommand")
            .args(["--bootstrap-server", &self.addresses(), "--create", "--topic", topic])
            .args(["--partitions", partitions])
            .args(["--replication-factor", &self.addresses.len().to_string()])
            .output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

fn start_one(jars: &Jars, home: &Path, config: &Path) -> Result<Process> {
    let formatted = jars
        .java("kafka.tools.StorageTool")
        .args(["format", "-t", "AAAAAAAAAAAAAAAAAAAAAA", "-c"])
        .arg(config)
        .output()?;
    ensure!(formatted.status.success(), "{}", String::from_utf8_lossy(&formatted.stderr));
    let mut command = jars.java("kafka.Kafka");
    command.arg(config);
    Ok(Process::start("kafka", &mut command, &home.join("kafka.log")))
}
