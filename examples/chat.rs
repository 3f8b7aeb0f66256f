//! The sample of SignalR's documentation on users and groups, method by method: clients of an application call it,
//! Fanfare's own and SignalR's.
//!
//! ```text
//! cargo run -p fanfare-examples --example chat
//! ```

use fanfare_server::{Args, CallError, Caller, GroupName, HubHandle, Identity, Methods, Server, UserName};

async fn send_private_message(
    hub: HubHandle,
    Args((user, message)): Args<(String, String)>,
) -> Result<(), CallError> {
    hub.user(UserName::new(&user)?).send("ReceiveMessage", message)?;
    Ok(())
}

async fn add_to_group(caller: Caller, Args((group,)): Args<(String,)>) -> Result<(), CallError> {
    let group = GroupName::new(&group)?;
    caller.join(&group)?;
    let text = format!("{} has joined the group {group}.", caller.connection());
    caller.hub().group(group).send("Send", text)?;
    Ok(())
}

async fn remove_from_group(caller: Caller, Args((group,)): Args<(String,)>) -> Result<(), CallError> {
    let group = GroupName::new(&group)?;
    caller.leave(&group);
    let text = format!("{} has left the group {group}.", caller.connection());
    caller.hub().group(group).send("Send", text)?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut address = |default: &str| arguments.next().unwrap_or_else(|| default.to_owned()).parse();
    let (quic, http) = (address("127.0.0.1:4433")?, address("127.0.0.1:4480")?);
    let made = fanfare_certs::server_leaf(std::path::Path::new(".fanfare"), &[])?.identity;
    let identity = Identity { chain: made.chain, key: made.key };
    let methods = Methods::new()
        .on("SendPrivateMessage", send_private_message)
        .on("AddToGroup", add_to_group)
        .on("RemoveFromGroup", remove_from_group);

    let builder = Server::builder().listen(quic).http(http).identity(identity).methods(methods);
    let server = builder.development().start().await?;
    println!("ready quic={} signalr={}", server.address(), server.signalr_url().unwrap_or_default());
    tokio::signal::ctrl_c().await?;
    server.drain().await;
    Ok(())
}
