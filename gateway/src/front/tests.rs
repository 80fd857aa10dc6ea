//! What a connection costs while it waits for its next call; and how another reader reads it.

pub mod against_hyper;

use super::arrival::SHORT_BODY_MAX_BYTES;
use super::*;
use crate::relay::buffers::Room;
use tokio::io::AsyncWriteExt as _;

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

/// Else it would be sent piece by piece, and could not be sent again.
#[tokio::test]
async fn a_short_body_that_came_with_its_head_is_read_with_it() {
    for (length, is_read) in [(2_000, true), (SHORT_BODY_MAX_BYTES as usize + HEAD_BUFFER_BYTES, false)] {
        let (mut client, gateway) = tokio::io::duplex(65_536);
        let head =
            format!("PUT /acme/echo/now HTTP/1.1\r\nhost: a.example\r\ncontent-length: {length}\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        client.write_all(&vec![b'x'; length]).await.unwrap();
        let mut stream: Stream = Box::new(gateway);
        let mut buffer = BytesMut::with_capacity(HEAD_BUFFER_BYTES);
        stream.read_buf(&mut buffer).await.unwrap();
        assert_eq!(buffer.len(), HEAD_BUFFER_BYTES, "the head alone has room");
        let Some(Next::Head(parsed, _)) = arrived(&buffer, &mut 0, true) else { panic!("no head") };
        read_short_body(&mut stream, &mut buffer, &parsed);
        assert_eq!(buffer.len() == head.len() + length, is_read, "{length} bytes");
    }
}
