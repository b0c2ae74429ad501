"""What tests stand on: servers, proxies, clients, apps, stores. No tests."""
