s,<vcpu,<title>By hand</title>\n<vcpu,
s,<bridge,<title>By hand</title>\n<bridge,
