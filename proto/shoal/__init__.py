"""Shoal's wire protocol: the `.proto` files and the code generated from them.

Client and server meet here and nowhere else. Import the messages from the package of their protocol, for example
`from shoal.inference import grpc_service_pb2`; `shoal.methods` lists the RPCs.
"""
