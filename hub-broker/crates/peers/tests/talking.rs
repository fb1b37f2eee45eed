//! Parcels, notices and requests between connected hubs.

mod common;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use common::{DEADLINE, Hub, NOTICE, beat, cluster, config, message, node, pair};
use peers::{Config, Limits, ParcelBody, REQUEST_BYTES_MAX, RequestError};
use tokio::sync::mpsc::unbounded_channel;

#[tokio::test(flavor = "multi_thread")]
async fn parcels_of_a_group_arrive_in_their_order() {
    let (first, mut second) = pair().await;
    let mut sent = Vec::new();
    for round in 0..50u8 {
        let bytes = if round % 10 == 3 { 3_000_000 } else { 100 * usize::from(round) };
        sent.push(message(1, bytes, round));
        assert!(first.peers.send(node(2), vec![message(1, bytes, round)]));
    }
    for parcel in sent {
        assert!(second.parcel().await == parcel, "every one in its turn");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_beat_overtakes_a_message_of_16_mib() {
    let (first, mut second) = pair().await;
    assert!(first.peers.send(node(2), vec![message(1, 16 * 1024 * 1024, 1)]));
    assert!(first.peers.send(node(2), vec![beat(2, 7)]));
    assert_eq!(second.parcel().await, beat(2, 7));
    assert!(second.parcel().await == message(1, 16 * 1024 * 1024, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn parcels_to_a_hub_that_is_not_connected_are_dropped() {
    let (first, _second) = pair().await;
    assert!(!first.peers.send(node(9), vec![beat(1, 1), beat(2, 1)]));
    assert_eq!(first.peers.stats().dropped_parcels, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_round_hears_from_whoever_is_there_and_finds_out_who_is_not() {
    let (first, second) = pair().await;
    for _ in 0..50 {
        tokio::time::timeout(DEADLINE, first.peers.look_round(2 * DEADLINE)).await.expect("it answers");
        assert!(first.peers.reaches(node(2)));
    }
    second.peers.shutdown().await;
    tokio::time::timeout(DEADLINE, first.peers.look_round(2 * DEADLINE)).await.expect("nobody is waited for");
    assert!(!first.peers.reaches(node(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_look_round_there_is_one_look_at_a_time() {
    let limits = Limits { requests_out_max: 4, ..Limits::default() };
    let (mut first, second) =
        (Hub::formed(Config { limits, ..config(1) }).await, Hub::formed(config(2)).await);
    first.know(&second);
    assert_eq!(first.up().await, node(2));
    // Looks are requests of this kind; none is answered.
    let (tell, mut asked) = unbounded_channel();
    second.peers.serve(255, Arc::new(move |_, _, reply| drop(tell.send(reply))));
    second.peers.serve(1, Arc::new(|_, _, reply| reply.ok(Bytes::new())));
    let looks = (0..50).map(|_| first.peers.look_round(Duration::from_millis(20)));
    futures_util::future::join_all(looks).await;
    assert_eq!(first.peers.request(node(2), 1, Bytes::new(), DEADLINE).await, Ok(Bytes::new()));
    let reply = asked.recv().await.expect("one look has come");
    assert!(asked.try_recv().is_err());
    // And another for all those who asked while that was under way.
    reply.ok(Bytes::new());
    asked.recv().await.expect("it comes").ok(Bytes::new());
    let answers = async {
        while let Some(reply) = asked.recv().await {
            reply.ok(Bytes::new());
        }
    };
    tokio::select! {
        () = first.peers.look_round(2 * DEADLINE) => {}
        () = answers => panic!("the handler is gone"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_threads_send_at_once() {
    let (first, mut second) = pair().await;
    let threads: Vec<_> = (0..4u32)
        .map(|group| {
            let peers = first.peers.clone();
            std::thread::spawn(move || {
                for term in 0..1000 {
                    assert!(peers.send(node(2), vec![beat(group, term)]));
                }
            })
        })
        .collect();
    let mut next = [0u64; 4];
    for _ in 0..4000 {
        let parcel = second.parcel().await;
        let ParcelBody::Beat { term, .. } = parcel.body else { panic!("not a beat: {parcel:?}") };
        assert_eq!(term, next[parcel.group as usize]);
        next[parcel.group as usize] += 1;
    }
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
}

#[tokio::test(flavor = "multi_thread")]
async fn hubs_without_a_cluster_exchange_requests_but_no_parcels() {
    let (mut first, mut second) = (Hub::start(config(1)).await, Hub::start(config(2)).await);
    first.peers.notify(None, NOTICE, Bytes::from_static(b"state"));
    first.know(&second);
    assert_eq!((first.up().await, second.up().await), (node(2), node(1)));
    second.peers.serve(32, Arc::new(|_, _, reply| reply.ok(Bytes::from_static(b"welcome"))));
    let answer = first.peers.request(node(2), 32, Bytes::new(), DEADLINE).await;
    assert_eq!(answer, Ok(Bytes::from_static(b"welcome")));
    assert!(!first.peers.send(node(2), vec![beat(1, 1)]));

    first.peers.set_cluster(cluster());
    assert_eq!(second.joined().await, node(1));
    assert!(!first.peers.send(node(2), vec![beat(1, 1)]));
    second.peers.set_cluster(cluster());
    assert_eq!(first.joined().await, node(2));
    assert!(first.peers.send(node(2), vec![beat(1, 2)]));
    assert_eq!(second.parcel().await, beat(1, 2));
    assert_eq!(second.notice().await, (node(1), Bytes::from_static(b"state")));
    assert_eq!(first.peers.known()[0].cluster, Some(cluster()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_is_heard_again_by_who_connects_and_who_listens_late() {
    let (first, mut second) = pair().await;
    first.peers.notify(None, NOTICE, Bytes::from_static(b"one"));
    assert_eq!(second.notice().await, (node(1), Bytes::from_static(b"one")));
    first.peers.notify(Some(node(3)), NOTICE, Bytes::from_static(b"only for three"));
    let (late, mut heard) = unbounded_channel();
    let again = Arc::new(move |from, body| drop(late.send((from, body))));
    second.peers.on_notice(NOTICE, again);
    assert_eq!(heard.recv().await, Some((node(1), Bytes::from_static(b"one"))));

    let mut third = Hub::formed(config(3)).await;
    third.know(&first);
    assert_eq!(third.notice().await, (node(1), Bytes::from_static(b"only for three")));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered_refused_or_not_served() {
    let (first, second) = pair().await;
    second.peers.serve(
        1,
        Arc::new(|from, body, reply| {
            assert_eq!(from, node(1));
            reply.ok(body);
        }),
    );
    second.peers.serve(2, Arc::new(|_, _, reply| reply.refuse(Bytes::from_static(b"not now"))));
    second.peers.serve(3, Arc::new(|_, _, reply| drop(reply)));
    let large = Bytes::from(vec![5; REQUEST_BYTES_MAX]);
    let ask = |kind, body| first.peers.request(node(2), kind, body, DEADLINE);
    assert!(ask(1, large.clone()).await == Ok(large));
    assert_eq!(ask(2, Bytes::new()).await, Err(RequestError::Refused(Bytes::from_static(b"not now"))));
    assert_eq!(ask(3, Bytes::new()).await, Err(RequestError::Lost));
    assert_eq!(ask(4, Bytes::new()).await, Err(RequestError::UnknownKind));
    assert_eq!(ask(1, Bytes::from(vec![0; REQUEST_BYTES_MAX + 1])).await, Err(RequestError::TooLarge));
    let stranger = first.peers.request(node(9), 1, Bytes::new(), DEADLINE).await;
    assert_eq!(stranger, Err(RequestError::NotConnected));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_one_kind_come_in_their_order() {
    let (first, second) = pair().await;
    let (asked, mut order) = unbounded_channel();
    second.peers.serve(
        1,
        Arc::new(move |_, body, reply| {
            let _ = asked.send(body.len());
            reply.ok(Bytes::new());
        }),
    );
    let sizes: Vec<usize> =
        (0..200).map(|number| if number % 7 == 0 { 90_000 + number } else { number }).collect();
    let asking: Vec<_> = sizes
        .iter()
        .map(|size| first.peers.request(node(2), 1, Bytes::from(vec![1; *size]), DEADLINE))
        .collect();
    for answer in futures(asking).await {
        assert_eq!(answer, Ok(Bytes::new()));
    }
    for size in sizes {
        assert_eq!(order.recv().await, Some(size));
    }
}

/// The results of all, begun in their order.
async fn futures<T>(all: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut all: Vec<_> = all.into_iter().map(Box::pin).collect();
    let mut results: Vec<Option<T>> = all.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, result) in all.iter_mut().zip(&mut results) {
            if result.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *result = Some(value);
            }
        }
        if results.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    results.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_an_answer_ends_with_its_time_or_its_connection() {
    let (first, second) = pair().await;
    let (keep, mut kept) = unbounded_channel();
    second.peers.serve(1, Arc::new(move |_, _, reply| drop(keep.send(reply))));
    let short = Duration::from_millis(20);
    let late = first.peers.request(node(2), 1, Bytes::new(), short).await;
    assert_eq!(late, Err(RequestError::Timeout));
    kept.recv().await.expect("it was asked").ok(Bytes::from_static(b"too late"));
    let peers = first.peers.clone();
    let waiting = tokio::spawn(async move { peers.request(node(2), 1, Bytes::new(), DEADLINE).await });
    let _reply = kept.recv().await.expect("it was asked");
    second.peers.shutdown().await;
    assert_eq!(waiting.await.expect("no panic"), Err(RequestError::Lost));
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_requests_are_overload_at_either_side() {
    let limits = Limits { requests_in_max: 2, requests_out_max: 3, ..Limits::default() };
    let (mut first, second) = (
        Hub::formed(Config { limits: limits.clone(), ..config(1) }).await,
        Hub::formed(Config { limits, ..config(2) }).await,
    );
    first.know(&second);
    first.up().await;
    let (keep, mut kept) = unbounded_channel();
    second.peers.serve(1, Arc::new(move |_, _, reply| drop(keep.send(reply))));
    let ask = || {
        let peers = first.peers.clone();
        tokio::spawn(async move { peers.request(node(2), 1, Bytes::new(), DEADLINE).await })
    };
    let (one, two) = (ask(), ask());
    let replies = [kept.recv().await.expect("asked"), kept.recv().await.expect("asked")];
    assert_eq!(ask().await.expect("no panic"), Err(RequestError::Overloaded), "two are not answered there");
    let mut three = Box::pin(first.peers.request(node(2), 1, Bytes::new(), DEADLINE));
    let again = std::future::poll_fn(|context| {
        let _ = three.as_mut().poll(context);
        std::task::Poll::Ready(())
    });
    again.await;
    let fourth = first.peers.request(node(2), 1, Bytes::new(), DEADLINE).await;
    assert_eq!(fourth, Err(RequestError::Overloaded), "three wait here");
    replies.into_iter().for_each(|reply| reply.ok(Bytes::new()));
    assert_eq!(
        (one.await.expect("no panic"), two.await.expect("no panic")),
        (Ok(Bytes::new()), Ok(Bytes::new()))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_before_a_stop_arrives() {
    let (first, mut second) = pair().await;
    for round in 0..20 {
        assert!(first.peers.send(node(2), vec![message(1, 50_000, round)]));
    }
    first.peers.shutdown().await;
    for round in 0..20 {
        assert!(second.parcel().await == message(1, 50_000, round));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_panics_takes_no_connection_along() {
    let (first, mut second) = pair().await;
    second.peers.serve(1, Arc::new(|_, _, _| panic!("a test's own")));
    assert_eq!(first.peers.request(node(2), 1, Bytes::new(), DEADLINE).await, Err(RequestError::Lost));
    assert!(first.peers.send(node(2), vec![beat(1, 1)]));
    assert_eq!(second.parcel().await, beat(1, 1));
}
