//! The bridge network of sandboxes with internet access, on which they cannot reach each other.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models::NetworkCreateRequest;
use bollard::query_parameters::ListNetworksOptions;
use sha2::{Digest, Sha256};
use slog::info;

use crate::sandbox::{Docker, DockerError};

/// Marks a network that RGrid created.
const NETWORK_LABEL: &str = "rgrid.network";
pub(super) const BRIDGE_NAME_OPTION: &str = "com.docker.network.bridge.name";
const ISOLATION_OPTION: &str = "com.docker.network.bridge.enable_icc";
const LOOK_AGAIN: u32 = 10;
const LOOK_AGAIN_PAUSE: Duration = Duration::from_millis(100);

impl Docker {
    /// Returns the ID of the bridge network. Creates it if it is missing.
    pub(crate) async fn bridge(&self) -> Result<String, DockerError> {
        if let Some(existing) = self.find_bridge().await? {
            return Ok(existing);
        }
        let error = match self.create_bridge().await {
            Ok(created) => return Ok(created),
            Err(error) => error,
        };
        // Another daemon may be creating it. Docker refuses the second request before it lists the first network.
        for _ in 0..LOOK_AGAIN {
            if let Some(existing) = self.find_bridge().await? {
                return Ok(existing);
            }
            tokio::time::sleep(LOOK_AGAIN_PAUSE).await;
        }
        Err(error)
    }

    async fn find_bridge(&self) -> Result<Option<String>, DockerError> {
        let name = &self.settings.network;
        let filters = HashMap::from([("name".to_owned(), vec![name.clone()])]);
        let options = ListNetworksOptions { filters: Some(filters) };
        let networks = self.call("list networks", self.api.list_networks(Some(options))).await?;
        // The filter also matches parts of names.
        let network = networks.into_iter().find(|network| network.name.as_ref() == Some(name));
        Ok(network.and_then(|network| network.id))
    }

    async fn create_bridge(&self) -> Result<String, DockerError> {
        let name = &self.settings.network;
        info!(self.log, "creating the sandboxes' network"; "network" => name);
        let options = [
            (ISOLATION_OPTION, "false".to_owned()),
            // Docker accepts two networks of one name, and then starts no container in either, but not two of one bridge.
            (BRIDGE_NAME_OPTION, bridge_name(name)),
        ];
        let request = NetworkCreateRequest {
            name: name.clone(),
            driver: Some("bridge".to_owned()),
            // The firewall covers only IPv4.
            enable_ipv6: Some(false),
            options: Some(options.map(|(option, value)| (option.to_owned(), value)).into()),
            labels: Some(HashMap::from([(NETWORK_LABEL.to_owned(), "internet".to_owned())])),
            ..Default::default()
        };
        Ok(self.call("create a network", self.api.create_network(request)).await?.id)
    }
}

/// The name of the bridge of a network that RGrid creates. Linux limits it to 15 bytes.
pub(super) fn bridge_name(network: &str) -> String {
    let digest = base16ct::lower::encode_string(&Sha256::digest(network.as_bytes()));
    format!("br-rgrid-{}", digest.get(..6).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_network_has_a_bridge_name_of_its_own_that_linux_accepts() {
        assert_eq!(bridge_name("rgrid-internet"), bridge_name("rgrid-internet"));
        assert_ne!(bridge_name("rgrid-internet"), bridge_name("rgrid-test"));
        assert_eq!(bridge_name(&"n".repeat(100)).len(), 15);
    }
}
