//! The sample of SignalR's documentation on users and groups, method by method: clients of an application call it.
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
    let quic = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:4433".to_owned()).parse()?;
    let made = fanfare_certs::server_leaf(std::path::Path::new(".fanfare"), &[])?.identity;
    let identity = Identity { chain: made.chain, key: made.key };
    let methods = Methods::new()
        .on("SendPrivateMessage", send_private_message)
        .on("AddToGroup", add_to_group)
        .on("RemoveFromGroup", remove_from_group);

    let server =
        Server::builder().listen(quic).identity(identity).methods(methods).development().start().await?;
    println!("ready quic={}", server.address());
    tokio::signal::ctrl_c().await?;
    server.drain().await;
    Ok(())
}
