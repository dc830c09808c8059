//! Connections to ports of services.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use bytes::BytesMut;
use cara_api::stream::frame::PIECE;
use cara_api::stream::{Channel, End, Frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use super::{Gone, Incoming, Outgoing, Streams, WAITING, answer};
use crate::dial::connect;
use crate::problem::problem;

/// Connects to a port of the service's container.
pub(super) async fn forward(
    State(streams): State<Streams>,
    Path((project, service, port)): Path<(String, String, String)>,
    body: Body,
) -> Result<Response, Response> {
    let port = port.parse().ok().filter(|port| *port != 0);
    let port = port.ok_or_else(|| problem(400, "a port is a number from 1 to 65535".to_owned()))?;
    let found = streams.running(&project, &service).await?;
    let stream = connect(&found, port).await;
    let stream = stream.map_err(|detail| problem(502, detail))?;
    let (sender, receiver) = mpsc::channel(WAITING);
    let token = streams.token.clone();
    streams.spawn(async move {
        tokio::select! {
            () = run(stream, Incoming::new(body), Outgoing(sender)) => {}
            () = token.cancelled() => {}
        }
    });
    Ok(answer(receiver))
}

async fn run(stream: TcpStream, incoming: Incoming, outgoing: Outgoing) {
    let (mut read, mut write) = stream.into_split();
    let both = async {
        tokio::try_join!(
            pump_out(&mut read, &outgoing),
            pump_in(&mut write, incoming)
        )
    };
    let ended = tokio::select! {
        // Each direction ends by itself.
        ended = both => ended,
        () = outgoing.0.closed() => Err(None),
    };
    if ended.is_err() {
        // What breaks must not look like an end to the service. Fails only for a connection that is gone.
        let _ = read.as_ref().set_zero_linger();
    }
    match ended {
        Ok(((), ())) => outgoing.end(&End::default()).await,
        Err(Some(error)) => outgoing.end(&End::failed(error)).await,
        Err(None) => {}
    }
}

/// None of an error: the other side is gone.
type Broken = Option<String>;

async fn pump_out(read: &mut OwnedReadHalf, outgoing: &Outgoing) -> Result<(), Broken> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(PIECE);
        let count = read.read_buf(&mut buffer).await;
        let count = count.map_err(|error| Some(format!("the connection broke: {error}")))?;
        let frame = match count {
            0 => Frame::eof(),
            _ => Frame::new(Channel::Stdout, buffer.split().freeze()),
        };
        outgoing.send(&frame).await.map_err(|Gone| None)?;
        if count == 0 {
            return Ok(());
        }
    }
}

async fn pump_in(write: &mut OwnedWriteHalf, mut incoming: Incoming) -> Result<(), Broken> {
    while let Some(frame) = incoming.next().await {
        match frame.channel {
            Channel::Stdin => {
                let written = write.write_all(&frame.payload).await;
                written.map_err(|error| Some(format!("the connection broke: {error}")))?;
            }
            Channel::Eof => {
                // The service may have closed already.
                let _ = write.shutdown().await;
                return Ok(());
            }
            Channel::Stdout
            | Channel::Stderr
            | Channel::Status
            | Channel::Resize
            | Channel::Signal
            | Channel::Taken => {}
        }
    }
    Err(None)
}
