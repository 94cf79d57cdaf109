// Started by docs.py's page. Its policy forbids scripts inside the page, and every address but this server's own.

// Swagger UI fills the fields of a form with made-up values and would send them: a model named "string". What has no
// default stays empty here, which the server takes for absent.
const emptyFields = () => ({
  afterLoad(system) {
    const sample = system.fn.getSampleSchema;
    system.fn.getSampleSchema = (schema, contentType, ...rest) => {
      const { type, ...fields } = schema?.toJS?.() ?? schema ?? {};
      const isField = contentType === false && ["string", "number", "integer"].includes(type);
      return isField && !("default" in fields) ? "" : sample(schema, contentType, ...rest);
    };
  },
});

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#api",
  deepLinking: true,
  tryItOutEnabled: true,
  persistAuthorization: false,
  plugins: [emptyFields],
  validatorUrl: null,
});
