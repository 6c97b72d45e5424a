"""The views of the site: for people, Prometheus and load balancers."""
