"""Ops written as smaller ones: rules for the legalizations of the backends that lack them."""
