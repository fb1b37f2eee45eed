//! The network that tests make: it joins its hosts, and cuts them apart when told so.

use std::path::Path;

use testkit::network::{self, Network};
use testkit::{ports, tools};

/// Whether a host reaches an address of another within a second.
fn reaches(network: &Network, from: usize, to: std::net::Ipv4Addr) -> bool {
    let connect = format!("exec 3<>/dev/tcp/{to}/7; head -c 1 <&3");
    let mut command = network.host(from).command(Path::new("timeout"));
    // The port is closed: an answer of any kind comes at once, none takes the whole second.
    let output = command.args(["1", "bash", "-c", &connect]).output();
    output.is_ok_and(|output| output.status.code() != Some(124))
}

#[test]
fn hosts_hear_each_other_until_they_are_cut_apart() {
    let name = "hosts_hear_each_other_until_they_are_cut_apart";
    if tools::find("nft", name).is_none() || !tools::is_root(name) {
        return;
    }
    network::within(name, || {
        let network = Network::new(3);
        let address = |host: usize| network.host(host).address;
        assert!(reaches(&network, 1, address(2)) && reaches(&network, 2, address(1)));
        network.part(1, 2);
        assert!(!reaches(&network, 1, address(2)) && !reaches(&network, 2, address(1)));
        assert!(reaches(&network, 1, address(3)) && reaches(&network, 3, address(2)), "only the two are cut");
        network.heal();
        assert!(reaches(&network, 1, address(2)));
        network.isolate(3);
        assert!(!reaches(&network, 1, address(3)) && !reaches(&network, 2, address(3)));
        assert!(ports::free().ip().is_loopback(), "loopback is up within the namespace");
    });
}
