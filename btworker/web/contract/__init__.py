"""What each route takes and answers, for /openapi.json. Parent; nothing here serves a request.

    web/routes.py: Route(…, about) --> document.py --> OpenAPI 3.1, made once, when it is first asked for

An Operation (operation.py) says in words what a handler's code does; the shapes in it are the models and the constants
that the handlers use, so that they cannot say something else. tests/security/contract.py holds the words to the server.
"""
