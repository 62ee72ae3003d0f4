//! What a cloud has beside its buckets, in a few lines: a server of HTTP/1.1 on loopback whose
//! answers a test makes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// The body, where it is no text.
    pub(crate) bytes: Vec<u8>,
}

impl Question {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.as_str())
    }

    fn read(stream: &TcpStream) -> Option<Self> {
        let mut reader = BufReader::new(stream);
        let mut line = || {
            let mut line = String::new();
            reader.read_line(&mut line).ok().map(|_| line.trim_end().to_owned())
        };
        let first = line()?;
        let mut words = first.split(' ').map(str::to_owned);
        let (method, target) = (words.next()?, words.next()?);
        let mut headers = Vec::new();
        loop {
            let header = line()?;
            let Some((name, value)) = header.split_once(':') else { break };
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let (body, bytes) = (String::new(), Vec::new());
        let mut question = Self { method, target, headers, body, bytes };
        let length = question.header("content-length").and_then(|length| length.parse().ok());
        reader.take(length.unwrap_or(0)).read_to_end(&mut question.bytes).ok()?;
        question.body = String::from_utf8_lossy(&question.bytes).into_owned();
        Some(question)
    }
}

/// What a client gets.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// A status, more lines of the head and a body.
    Answer(u16, Vec<String>, String),
    /// The end of the connection.
    HangUp,
    /// Nothing, for ever.
    Silence,
}

impl From<(u16, String)> for Reply {
    fn from((status, body): (u16, String)) -> Self {
        Self::Answer(status, Vec::new(), body)
    }
}

/// A running endpoint; it ends with the value.
pub(crate) struct Endpoint {
    address: SocketAddr,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Endpoint {
    /// Answers every request, as by a status and a body.
    pub(crate) fn start<R: Into<Reply>>(answer: impl Fn(&Question) -> R + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
        let address = listener.local_addr().expect("it is bound");
        let ends = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ends);
        let thread = std::thread::spawn(move || {
            let mut silent = Vec::new();
            for mut stream in listener.incoming().map_while(Result::ok) {
                if told.load(Ordering::Relaxed) {
                    return;
                }
                let Some(question) = Question::read(&stream) else { continue };
                let (status, lines, body) = match answer(&question).into() {
                    Reply::Answer(status, lines, body) => (status, lines, body),
                    Reply::HangUp => continue,
                    Reply::Silence => {
                        silent.push(stream);
                        continue;
                    }
                };
                let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 {status} Status\r\nConnection: close\r\n{lines}Content-Length: {length}\r\n\r\n"
                );
                // A client that went away is no trouble.
                drop(stream.write_all((head + &body).as_bytes()));
            }
        });
        Self { address, ends, thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        // It waits for a connection.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
