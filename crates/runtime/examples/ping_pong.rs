//! What a round trip costs: `ping_pong [rounds] [bytes]` sends a message to and fro over a unix socket between two processes.
//! `strace -cf` shows the system calls: one read, one write and one wait per message and side.

use std::path::{Path, PathBuf};
use std::time::Instant;

use ctdb_runtime::{Handle, Program, Runtime, Stream};

async fn answer(h: &Handle, path: &Path) -> std::io::Result<()> {
    let stream = h.connect_unix(path).await?;
    let mut buf = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut buf).await? {
            0 => return Ok(()),
            n => stream.write_all(&buf[..n]).await?,
        }
    }
}

async fn ask(stream: &Stream, rounds: usize, bytes: usize) -> std::io::Result<()> {
    let message = vec![1; bytes];
    let mut buf = vec![0; 64 * 1024];
    for _ in 0..rounds {
        stream.write_all(&message).await?;
        let mut got = 0;
        while got < bytes {
            got += match stream.read(&mut buf).await? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                n => n,
            };
        }
    }
    Ok(())
}

fn main() -> std::io::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let runtime = Runtime::new()?;
    let h = runtime.handle();
    if let [_, flag, path] = &args[..]
        && flag == "--answer"
    {
        return runtime.block_on(answer(&h, Path::new(path)));
    }
    let number = |i: usize, default| args.get(i).and_then(|a| a.parse().ok()).unwrap_or(default);
    let (rounds, bytes) = (number(1, 100_000), number(2, 64));
    let path: PathBuf = std::env::temp_dir().join(format!("ping_pong.{}", h.pid()));
    runtime.block_on(async {
        let listener = h.listen_unix(&path, 0o700, 1)?;
        let program = Program::new(std::env::current_exe()?).arg("--answer").arg(&path);
        let mut child = h.spawn_program(program)?;
        let stream = listener.accept().await?;
        std::fs::remove_file(&path)?;
        let start = Instant::now();
        ask(&stream, rounds, bytes).await?;
        let took = start.elapsed();
        drop(stream);
        child.wait().await;
        println!(
            "{rounds} round trips of {bytes} bytes: {:?} each",
            took / rounds as u32
        );
        println!("turns: {}", h.turn_lengths());
        Ok(())
    })
}
