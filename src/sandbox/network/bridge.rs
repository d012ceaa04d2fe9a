//! The bridge network of sandboxes with internet access, on which they cannot reach each other.

use std::collections::HashMap;

use bollard::models::{Network, NetworkCreateRequest};
use bollard::query_parameters::ListNetworksOptions;
use slog::{info, warn};

use crate::sandbox::error::{is_missing, with_timeout};
use crate::sandbox::{Docker, DockerError};

/// Marks a network that RGrid created.
const NETWORK_LABEL: &str = "rgrid.network";

impl Docker {
    /// Returns the ID of the bridge network. Creates it if it is missing.
    ///
    /// If two daemons start at the same time, Docker lets both create a network with the same name, and then starts no
    /// container in either. So a daemon that finds two removes one, even later, because their creators may have died.
    pub(crate) async fn bridge(&self) -> Result<String, DockerError> {
        let mut networks = self.bridges().await?;
        if networks.is_empty() {
            self.create_bridge().await?;
            networks = self.bridges().await?;
        }
        let mut networks = networks.into_iter();
        let mut kept = networks.next().ok_or_else(|| DockerError::Refused {
            action: "create a network",
            reason: format!("the network {} was removed again", self.settings.network),
        })?;
        for other in networks {
            warn!(self.log, "two networks have the same name"; "older" => &kept.id, "newer" => &other.id);
            // All daemons prefer the older one, unless only the newer one is in use.
            if !self.remove_bridge(&other).await && self.remove_bridge(&kept).await {
                kept = other;
            }
        }
        Ok(kept.id.unwrap_or_default())
    }

    /// Removes a network that RGrid created; Docker refuses to remove one that is in use. Returns whether it is gone.
    async fn remove_bridge(&self, network: &Network) -> bool {
        if !network.labels.as_ref().is_some_and(|labels| labels.contains_key(NETWORK_LABEL)) {
            warn!(self.log, "a network is kept: RGrid did not create it"; "network" => &network.id);
            return false;
        }
        match with_timeout(self.api.remove_network(network.id.as_deref().unwrap_or_default())).await {
            Err(error) if !is_missing(&error) => {
                warn!(self.log, "a network is kept"; "network" => &network.id, "error" => %error);
                false
            }
            _ => true,
        }
    }

    /// All networks with the configured name, oldest first.
    async fn bridges(&self) -> Result<Vec<Network>, DockerError> {
        let filters = HashMap::from([("name".to_owned(), vec![self.settings.network.clone()])]);
        let options = ListNetworksOptions { filters: Some(filters) };
        let mut networks = self.call("list networks", self.api.list_networks(Some(options))).await?;
        // The filter also matches parts of names.
        networks.retain(|network| network.name.as_deref() == Some(self.settings.network.as_str()));
        networks.sort_by_key(|network| (network.created.clone(), network.id.clone()));
        Ok(networks)
    }

    async fn create_bridge(&self) -> Result<(), DockerError> {
        info!(self.log, "creating the sandboxes' network"; "network" => &self.settings.network);
        let no_traffic_between = ("com.docker.network.bridge.enable_icc".to_owned(), "false".to_owned());
        let request = NetworkCreateRequest {
            name: self.settings.network.clone(),
            driver: Some("bridge".to_owned()),
            // The firewall covers only IPv4.
            enable_ipv6: Some(false),
            options: Some(HashMap::from([no_traffic_between])),
            labels: Some(HashMap::from([(NETWORK_LABEL.to_owned(), "internet".to_owned())])),
            ..Default::default()
        };
        self.call("create a network", self.api.create_network(request)).await.map(drop)
    }
}
