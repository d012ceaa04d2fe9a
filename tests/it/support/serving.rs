//! A minimal HTTP server: reads the request line, responds and closes the connection.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

/// Media type and content of a path; `None` is a 404.
pub type Content = Option<(&'static str, Vec<u8>)>;

/// Serves until the test ends. Returns the port.
pub fn serve(address: &str, content: impl Fn(&str) -> Content + Clone + Send + 'static) -> u16 {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let content = content.clone();
            // A client that was killed needs no response.
            std::thread::spawn(move || drop(answer(connection, content)));
        }
    });
    port
}

fn answer(mut connection: TcpStream, content: impl Fn(&str) -> Content) -> std::io::Result<()> {
    let mut lines = BufReader::new(connection.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let mut words = request.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (status, kind, body) = match content(path) {
        Some((kind, body)) => ("200 OK", kind, body),
        None => ("404 Not Found", "text/plain", Vec::new()),
    };
    let length = body.len();
    write!(
        connection,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    if method != "HEAD" {
        connection.write_all(&body)?;
    }
    Ok(())
}
