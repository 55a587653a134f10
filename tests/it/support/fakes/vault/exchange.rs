//! How a connection is served: the request is read, and answered well or badly.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::interval,
};

use super::{
    super::{
        http::Request,
        tls::{self, Door},
    },
    Shared,
    ask::Misdeed,
};

/// Time between two bytes of a slow answer.
const DRIP: Duration = Duration::from_secs(1);

/// How an exchange ended.
#[derive(PartialEq)]
enum End {
    Closed,
    Reset,
}

/// Serves a connection. Who goes away early is not missed.
pub(super) async fn connection(mut stream: TcpStream, shared: Arc<Shared>) {
    let (resets, door) = {
        let mut state = shared.state();
        state.connections += 1;
        (state.resets, state.door.clone())
    };
    if resets {
        // A socket that is closed without lingering sends a reset.
        let _ = stream.set_zero_linger();
        return;
    }
    match door {
        Door::Plain if tls::is_offered(&stream).await => tls::answer_without(stream).await,
        Door::Plain => {
            if exchange(&mut stream, &shared).await.is_ok_and(|end| end == End::Reset) {
                let _ = stream.set_zero_linger();
            }
        }
        Door::OldTls => tls::refuse_version(stream).await,
        Door::Tls(config) => {
            let (handshake, stream) = tls::accept(stream, config).await;
            shared.state().handshakes.extend(handshake);
            if let Ok(mut stream) = stream {
                let _ = exchange(&mut stream, &shared).await;
            }
        }
    }
}

/// Reads one request and answers it, well or badly.
async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), shared: &Shared) -> io::Result<End> {
    let request = Request::read(stream).await?;
    let (misdeed, mut answer) = {
        let mut state = shared.state();
        let misdeed = state.misdeed(&request);
        // An answer of the test's own issues and ends no token.
        let answer = match &misdeed {
            Some(Misdeed::Answer(answer)) => answer.bytes(),
            Some(Misdeed::Echo(echo)) => echo.answer(&state.known(), &state.answer(&request)),
            _ => state.answer(&request).bytes(),
        };
        (misdeed, answer)
    };
    match misdeed {
        None | Some(Misdeed::Answer(_) | Misdeed::Echo(_)) => {}
        Some(Misdeed::Cut) => answer.truncate(answer.len() - answer.len() / 4),
        Some(Misdeed::Reset) => return Ok(End::Reset),
        Some(Misdeed::Silence) => {
            // Nothing more is expected: this ends when the other side gives up.
            stream.read_u8().await?;
        }
        Some(Misdeed::Drip) => {
            let mut ticks = interval(DRIP);
            for byte in answer.drain(..) {
                ticks.tick().await;
                stream.write_u8(byte).await?;
            }
        }
    }
    stream.write_all(&answer).await?;
    stream.shutdown().await?;
    Ok(End::Closed)
}
