//! What a connection costs while it waits for its next call; and how another reader reads it.

mod against_hyper;

use super::*;

/// Bytes of the future that a function returns.
fn size<A, F: Future>(_: impl Fn(A) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn an_idle_connection_does_not_carry_the_room_for_a_call() {
    let serve = size(|(front, stream, shutdown): (&'static Front, Stream, &'static ShutdownWatch)| {
        front.serve(stream, shutdown)
    });
    let call = size(
        |(relay, stream, peer, head, buffer, room, shutdown): (
            &'static Relay,
            &'static mut Stream,
            Peer,
            &'static head::Head,
            &'static mut BytesMut,
            &'static mut Room,
            &'static ShutdownWatch,
        )| relay.call(stream, peer, head, buffer, room, shutdown),
    );
    println!("a connection's future: {serve} bytes, of which a call in the fast lane {call}");
    assert!(serve <= 3_072, "{serve}");
}
