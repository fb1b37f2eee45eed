use super::*;

const FIRST: SubscriberId = SubscriberId(1);
const SECOND: SubscriberId = SubscriberId(2);

fn options(qos: Qos) -> Options {
    Options { qos, no_local: None, retain_as_published: false, is_reserved: false, id: None }
}

struct Bench {
    router: Router,
    outboxes: [Arc<Outbox>; 2],
}

impl Bench {
    fn new() -> Self {
        Self { router: Router::default(), outboxes: Default::default() }
    }

    fn outbox(&self, id: SubscriberId) -> Arc<Outbox> {
        Arc::clone(&self.outboxes[usize::try_from(id.0 - 1).unwrap()])
    }

    fn subscribe(&mut self, id: SubscriberId, filter: &str, options: &Options, retain: RetainHandling) {
        let outbox = self.outbox(id);
        self.router.subscribe(id, &outbox, filter, options, retain).unwrap();
    }

    fn listen(&mut self, id: SubscriberId, filter: &str, qos: Qos) {
        self.subscribe(id, filter, &options(qos), RetainHandling::Never);
    }

    fn publish(&mut self, message: Message) {
        self.router.publish(&Arc::new(message));
    }

    fn heard(&self, id: SubscriberId) -> Vec<Delivery> {
        let outbox = self.outbox(id);
        std::iter::from_fn(|| outbox.take_if(|_| true)).collect()
    }
}

fn retained(topic: &str, payload: &'static str) -> Message {
    Message { retain: true, ..Message::for_tests(topic, payload) }
}

#[test]
fn overlapping_subscriptions_bring_a_message_once_at_the_highest_qos() {
    let mut bench = Bench::new();
    let with_id = |qos, id| Options { id: Some(id), ..options(qos) };
    bench.subscribe(FIRST, "a/#", &with_id(Qos::AtMostOnce, 1), RetainHandling::Never);
    bench.subscribe(FIRST, "a/+", &with_id(Qos::AtLeastOnce, 2), RetainHandling::Never);
    bench.subscribe(FIRST, "b", &with_id(Qos::ExactlyOnce, 3), RetainHandling::Never);
    bench.listen(SECOND, "#", Qos::ExactlyOnce);
    bench.publish(Message::for_tests("a/b", "1"));
    let heard = bench.heard(FIRST);
    assert_eq!(heard.len(), 1);
    assert_eq!(heard[0].qos, Qos::AtLeastOnce);
    let mut ids = heard[0].subscription_ids.clone();
    ids.sort_unstable();
    assert_eq!(ids, [1, 2]);
    assert_eq!(bench.heard(SECOND)[0].qos, Qos::ExactlyOnce);
}

#[test]
fn the_qos_is_never_above_that_of_the_publish() {
    let mut bench = Bench::new();
    bench.listen(FIRST, "a", Qos::ExactlyOnce);
    bench.publish(Message { qos: Qos::AtMostOnce, ..Message::for_tests("a", "1") });
    assert_eq!(bench.heard(FIRST)[0].qos, Qos::AtMostOnce);
}

#[test]
fn no_local_keeps_a_clients_own_publishes_from_it() {
    let mut bench = Bench::new();
    let own = Options { no_local: Some(Bytes::from_static(b"me")), ..options(Qos::AtMostOnce) };
    bench.subscribe(FIRST, "#", &own, RetainHandling::Never);
    let from = |client: &'static str| Message {
        client: Some(Bytes::from_static(client.as_bytes())),
        ..Message::for_tests("a", client)
    };
    bench.publish(from("me"));
    bench.publish(from("you"));
    bench.publish(Message::for_tests("a", "nobody"));
    let payloads: Vec<_> = bench.heard(FIRST).iter().map(|heard| heard.message.payload.clone()).collect();
    assert_eq!(payloads, ["you", "nobody"]);
}

#[test]
fn retained_messages_come_as_the_subscription_asks() {
    let mut bench = Bench::new();
    bench.publish(retained("a", "1"));
    let qos = options(Qos::AtLeastOnce);
    for (handling, first, again) in
        [(RetainHandling::Always, 1, 1), (RetainHandling::WhenNew, 1, 0), (RetainHandling::Never, 0, 0)]
    {
        bench.subscribe(FIRST, "a", &qos, handling);
        let heard = bench.heard(FIRST);
        assert_eq!(heard.len(), first, "{handling:?}");
        assert!(heard.iter().all(|delivery| delivery.retain));
        bench.subscribe(FIRST, "a", &qos, handling);
        assert_eq!(bench.heard(FIRST).len(), again, "{handling:?}");
        assert!(bench.router.unsubscribe(FIRST, "a"));
    }
}

#[test]
fn the_retain_flag_is_passed_on_only_to_who_wants_it() {
    let mut bench = Bench::new();
    bench.listen(FIRST, "a", Qos::AtMostOnce);
    let as_published = Options { retain_as_published: true, ..options(Qos::AtMostOnce) };
    bench.subscribe(SECOND, "a", &as_published, RetainHandling::Never);
    bench.publish(retained("a", "1"));
    assert!(!bench.heard(FIRST)[0].retain);
    assert!(bench.heard(SECOND)[0].retain);
    bench.publish(retained("a", ""));
    assert_eq!(bench.heard(FIRST).len(), 1, "the message that deletes is delivered too");
    bench.router.unsubscribe(FIRST, "a");
    bench.subscribe(FIRST, "a", &options(Qos::AtMostOnce), RetainHandling::Always);
    assert!(bench.heard(FIRST).is_empty());
}

#[test]
fn an_empty_payload_without_the_flag_deletes_nothing() {
    let mut bench = Bench::new();
    bench.publish(retained("a", "1"));
    bench.publish(Message::for_tests("a", ""));
    bench.subscribe(FIRST, "a", &options(Qos::AtMostOnce), RetainHandling::Always);
    assert_eq!(bench.heard(FIRST).len(), 1);
}

#[test]
fn a_session_that_ends_leaves_nothing_behind() {
    let mut bench = Bench::new();
    for filter in ["a", "a/+", "#"] {
        bench.listen(FIRST, filter, Qos::AtMostOnce);
    }
    bench.router.remove(FIRST);
    assert_eq!(bench.router.subscription_count(), 0);
    bench.publish(Message::for_tests("a", "1"));
    assert!(bench.heard(FIRST).is_empty());
    assert!(!bench.router.unsubscribe(FIRST, "a"));
}

#[test]
fn a_client_has_only_so_many_subscriptions_but_may_change_those_it_has() {
    let mut bench = Bench::new();
    for number in 0..SUBSCRIPTIONS_PER_CLIENT_MAX {
        bench.listen(FIRST, &number.to_string(), Qos::AtMostOnce);
    }
    let outbox = bench.outbox(FIRST);
    let mut again = |filter| {
        bench.router.subscribe(FIRST, &outbox, filter, &options(Qos::AtLeastOnce), RetainHandling::Never)
    };
    assert_eq!(again("one more"), Err(TooMany));
    assert_eq!(again("7"), Ok(()));
}
